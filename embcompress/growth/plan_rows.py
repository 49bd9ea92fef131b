"""The plan of one table that gets rows: what is written of it, and what holds its new rows."""

from __future__ import annotations

from collections.abc import Sequence

from embcompress.artifact.schema import BASES_SUFFIX, WEIGHTS_SUFFIX
from embcompress.artifact.writer import Entry
from embcompress.checkpoints.recorded_constrainers import find_constrainer
from embcompress.choices import NO_CONSTRAINER, Choice
from embcompress.exceptions import IdsError
from embcompress.growth.placement import Placement
from embcompress.growth.plan import BaseTable, CodedGrowth, Fill, GrowingTable, GrowthPlan, RowRequest
from embcompress.text import named


def _constrainer_of(part: BaseTable, request: RowRequest) -> tuple[Choice | None, str]:
    """Choose the constraint of a table's new rows, with a remark if it comes from the checkpoint."""
    if not request.may_be_told or part.compressed is not None:
        return request.constrainer, ""
    name = part.table.name
    constrainer = find_constrainer(part.base.checkpoint.listing, name)
    if constrainer is None:
        return None, ""
    if constrainer.choice is None:
        return None, f"the model constrains {name!r} by {constrainer.function}, and its new rows are not constrained"
    off = f"--constrainer {NO_CONSTRAINER}"
    choice = constrainer.choice
    return choice, f"the constraint {choice} of the model is applied to the new rows of {name!r}; {off} turns it off"


def plan_growing_table(
    table: GrowingTable,
    placement: Placement,
    request: RowRequest,
    *,
    coded: CodedGrowth | None,
    fill: Fill | None,
    given: tuple[int, ...] | None,
) -> GrowthPlan:
    """Plan a table that gets rows.

    Args:
        table: the same in every base.
        placement: where the rows go.
        request: how new rows are made.
        coded: what else is known of a coded table.
        fill: the new rows given.
        given: the id of each row of the fill; None for the order of the new ids.

    Raises:
        IdsError: the fill has more or fewer rows than ids are new, or than labels were given.
    """
    first, rows = table.first, placement.max_id
    ranks = [part.compressed.rank for part in table.parts if part.compressed]
    rank = None
    if coded is not None:
        rank = ranks[0]
        entries = tuple(coded.entries.values())
    elif ranks:
        assert first.bases is not None
        rank = ranks[0] if _have_same_bases(table.parts) else sum(ranks)
        entries = (
            Entry(first.table.name + BASES_SUFFIX, first.bases.dtype, (rank, *first.table.shape)),
            Entry(first.table.name + WEIGHTS_SUFFIX, first.stored.dtype, (rows, rank)),
        )
    else:
        entries = tuple(Entry(name, first.table.dtype, (rows, *first.table.shape)) for name in first.table.names)
    constrainer, remark = _constrainer_of(first, request)
    plan = GrowthPlan(
        table.parts, table.padding, placement, entries, rank, coded, fill, given or (), constrainer, remark
    )
    if fill is not None:
        count = fill.stored.shape[0]
        wanted = plan.placement.added if given is None else len(given)
        if count != wanted:
            what = "ids are new" if given is None else "labels were given for them"
            raise IdsError(f"--fill has {count} rows for table {first.table.name!r}, and {wanted} {what}.")
        if given is not None and len(given) < plan.placement.added and not request.may_draw:
            missing = set(range(rows)) - {new_id for new_ids in placement.new_ids for new_id in new_ids} - set(given)
            raise IdsError(
                f"--fill has no rows for {len(missing)} new ids, such as {named(sorted(missing))}.",
                hint="Say with --method how to draw those.",
            )
    return plan


def _have_same_bases(parts: Sequence[BaseTable]) -> bool:
    """Compare the bases of compressed tables, bit by bit."""
    if len({part.bases.shape for part in parts if part.bases}) > 1:
        return False
    contents = []
    for part in parts:
        assert part.bases is not None
        assert part.base.artifact is not None
        contents.append(b"".join(map(bytes, part.base.artifact.read(part.bases))))
    return all(content == contents[0] for content in contents)
