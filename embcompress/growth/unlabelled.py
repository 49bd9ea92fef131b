"""Rows of a base that no label belongs to: where they stand, and what becomes of them. None goes on a guess."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from embcompress.exceptions import IdsError, Retry, UsageError
from embcompress.growth.placement import Placement
from embcompress.growth.plan import BaseTable, GrowingTable
from embcompress.tables.padding import begins_with_padding


@dataclass(frozen=True)
class PaddingRequest:
    """The options on rows without a label.

    Attributes:
        row_offset: the row of the first label; None where it is not given.
        keep: those behind the last label stay, behind the last new label.
        drop: those behind the last label go where new labels need their places.
        max_id: the number of ids asked for, or None.
    """

    row_offset: int | None = None
    keep: bool = False
    drop: bool = False
    max_id: int | None = None

    @property
    def is_told(self) -> bool:
        """Whether any option is given."""
        return self.row_offset is not None or self.keep or self.drop

    def check(self, *, bases: int, has_labels: bool) -> None:
        """Refuse options that contradict each other, or go with nothing that was given.

        Args:
            bases: their number.
            has_labels: whether their rows are matched by label.

        Raises:
            UsageError: they contradict each other, or there are no labels, or several bases.
        """
        if self.keep and self.drop:
            raise UsageError("--keep-padding and --drop-padding contradict each other: give one of them.")
        if self.row_offset is not None and self.row_offset < 0:
            raise UsageError(f"--row-offset must be 0 or more; got {self.row_offset}.")
        option = "--row-offset" if self.row_offset is not None else "--keep-padding" if self.keep else ""
        if bases > 1 and option:
            raise UsageError(f"{option} goes with one BASE; of several, --drop-padding can drop rows without a label.")
        if self.is_told and not has_labels:
            raise UsageError(f"{option or '--drop-padding'} goes with --base-labels: --base-ids gives every row an id.")


def settle_tables(
    tables: Sequence[GrowingTable],
    placement: Placement,
    request: PaddingRequest,
    *,
    coded_zeros: Callable[[BaseTable], bool] = lambda _: False,
) -> Placement:
    """Decide what becomes of rows without a label, as `settle_rows`, by the first rows of all tables.

    Args:
        tables: that grow.
        placement: of their labelled rows, counted from the first label.
        request: the options.
        coded_zeros: whether the first row of a coded table alone is zeros, of the first and the last.

    Raises:
        IdsError: as `settle_rows`.
    """

    def begins_with_zeros(part: BaseTable) -> bool:
        if part.is_coded:
            return coded_zeros(part)
        return begins_with_padding(part.stored, surplus=1, files=part.base.checkpoint.files)

    first = tables[0].first
    return settle_rows(
        placement,
        request,
        what=f"{first.table.name!r} in {first.base.path}",
        rows=[part.table.rows for part in tables[0].parts],
        begins_with_zeros=all(table.padding[0] == 1 and begins_with_zeros(table.first) for table in tables),
    )


def settle_rows(
    placement: Placement, request: PaddingRequest, *, what: str, rows: Sequence[int], begins_with_zeros: bool
) -> Placement:
    """Decide what becomes of rows without a label.

    Those before the first label keep their ids. Without an option, a first row of zeros is taken for the one that
    has no label, and where no label is new or moves, all rows stay where they are.

    Args:
        placement: of the labelled rows, counted from the first label.
        request: the options.
        what: names the table, for messages.
        rows: of the table in each base.
        begins_with_zeros: whether the only row beside the labels may be the first: it is zeros, and the last is not.

    Raises:
        IdsError: rows without a label of which it is not clear what they are, or labels that go beyond the rows.
    """
    if placement.new is None:
        return placement
    if placement.dropped_blank and not request.drop:
        count = placement.dropped_blank
        raise IdsError(
            f"{what}: --base-labels has a blank label for {count} {'row' if count == 1 else 'rows'}, and --labels none "
            "in the same places.",
            hint="--keep-padding is for rows behind the labels. Give --drop-padding in its place if these can go."
            if request.keep
            else "If they are padding that can go:",
            retries=() if request.keep else [Retry(("--drop-padding",))],
        )
    if len(rows) > 1:
        return _settle_several(placement, request, what=what, rows=rows)
    count, size = len(placement.new_ids[0]), rows[0]
    surplus = size - count
    is_zero = begins_with_zeros and not request.is_told
    offset = int(is_zero) if request.row_offset is None else request.row_offset
    if offset > surplus:
        raise IdsError(
            f"--row-offset {offset}: {what} has {size} rows, too few for {count} labels from row {offset} on.",
            hint=f"At most {surplus} rows can stand before the labels.",
        )
    behind, end = surplus - offset, offset + placement.labels
    is_same = placement.is_appended and placement.labels == count and (request.max_id or size) >= size
    if behind and not (is_same or request.keep or request.drop):
        raise _unclear(placement, request, what=what, rows=size, offset=offset)
    # By default a padded table does not shrink.
    length = end + behind if request.keep else max(size, end) if behind else end
    if request.max_id is not None:
        if request.max_id < (length if request.keep else end):
            raise IdsError(
                f"--max-id {request.max_id} is too small for {placement.labels} labels and "
                f"{(behind if request.keep else 0) + offset} rows that have none."
            )
        length = request.max_id
    # Of each row behind the last label its new id.
    first = end if request.keep else offset + count
    tail = [index if end <= index < length else -1 for index in range(first, first + behind)]
    labelled = placement.new_ids[0]
    if offset:
        labelled = array("q", (index + offset if index >= 0 else -1 for index in labelled))
    return replace(
        placement,
        new_ids=(array("q", range(offset)) + labelled + array("q", tail),),
        max_id=length,
        offset=offset,
        unlabelled=(*range(offset), *(index for index in tail if index >= 0)),
        remarks=(_remark(size, count, offset=offset, tail=tail, is_zero=is_zero),),
    )


def retries_for(surplus: int, placement: Placement, request: PaddingRequest) -> list[Retry]:
    """List the options on rows without a label, each with the least --max-id that it needs, if one was given."""
    offset = request.row_offset
    choices: list[tuple[tuple[str, ...], str, int]] = [
        (("--keep-padding",), "keep them, behind the last new label", (offset or 0) + placement.labels + surplus),
        (
            ("--drop-padding",),
            "they are padding: drop them where new labels need their ids",
            (offset or 0) + placement.labels,
        ),
    ]
    if offset is None:
        first = "row 0 has" if surplus == 1 else f"rows 0..{surplus - 1} have"
        choices.insert(0, (("--row-offset", str(surplus)), f"{first} no label", surplus + placement.labels))
    return [
        Retry(
            (*arguments, "--max-id", str(least))
            if request.max_id is not None and request.max_id < least
            else arguments,
            note,
        )
        for arguments, note, least in choices
    ]


def _settle_several(placement: Placement, request: PaddingRequest, *, what: str, rows: Sequence[int]) -> Placement:
    """Decide the same for several bases, of which none can keep its rows' ids."""
    all_new_ids, remarks = [], []
    for new_ids, size in zip(placement.new_ids, rows, strict=True):
        surplus = size - len(new_ids)
        if surplus and not request.drop:
            raise IdsError(
                f"{what} has {size} rows and {len(new_ids)} labels in one of {len(rows)} bases.",
                hint="Rows without a label can only go:",
                retries=[Retry(("--drop-padding",))],
            )
        tail = [-1] * surplus
        all_new_ids.append(new_ids + array("q", tail))
        remarks.append(_remark(size, len(new_ids), offset=0, tail=tail, is_zero=False))
    return replace(placement, new_ids=tuple(all_new_ids), remarks=tuple(remarks))


def _unclear(placement: Placement, request: PaddingRequest, *, what: str, rows: int, offset: int) -> IdsError:
    count = len(placement.new_ids[0])
    surplus = rows - count - offset
    if request.row_offset is not None:
        begins = rows - surplus
        which = f"row {begins} has" if surplus == 1 else f"rows {begins}..{rows - 1} have"
        message = f"{what} has {rows} rows: {which} no label, and new labels may need {_places(surplus)}."
    else:
        message = f"{what} has {rows} rows and {count} labels, and it is not known which {_rows(surplus)} no label."
    return IdsError(message, hint="Say which:", retries=retries_for(surplus, placement, request))


def _rows(count: int) -> str:
    return "row has" if count == 1 else f"{count} rows have"


def _places(count: int) -> str:
    return "its place" if count == 1 else "their places"


def _remark(rows: int, count: int, *, offset: int, tail: Sequence[int], is_zero: bool) -> str:
    """Say which rows of a base have no label, and what became of them."""
    if not offset and not tail:
        return ""
    if is_zero:
        return f"has {rows} rows and {count} labels: row 0 is all zeros, so the first label was taken for that of row 1"
    clauses = []
    if offset:
        clauses.append(f"{_span(0, offset)} before the labels {'stays' if offset == 1 else 'stay'}")
    if tail:
        begins = rows - len(tail)
        gone = [row for row, index in enumerate(tail, begins) if index < 0]
        kept_rows = [(row, index) for row, index in enumerate(tail, begins) if index >= 0]
        if gone:
            is_whole = gone[-1] - gone[0] == len(gone) - 1
            span = _span(gone[0], gone[-1] + 1) if is_whole else f"{len(gone)} of {_span(begins, rows)}"
            clauses.append(f"{span} {'was' if len(gone) == 1 else 'were'} dropped")
        if kept_rows:
            row, index = kept_rows[0]
            span = _span(row, row + len(kept_rows))
            moved = f"now {'stands' if len(kept_rows) == 1 else 'stand'} behind the last label, from id {index} on"
            clauses.append(f"{span} {moved if index != row else 'stays' if len(kept_rows) == 1 else 'stay'}")
    return f"has {rows} rows and {count} labels: {', '.join(clauses)}"


def _span(first: int, last: int) -> str:
    return f"row {first}" if last - first == 1 else f"rows {first}..{last - 1}"
