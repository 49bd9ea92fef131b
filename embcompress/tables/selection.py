"""The tables of a checkpoint: tied tensors together, and those that a user's patterns choose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.checkpoints.files import Files
from embcompress.checkpoints.tensors import ITEM_BYTES
from embcompress.exceptions import Retry, TableError
from embcompress.tables.factor_sizes import largest_rank
from embcompress.tables.recognition import TABLE_DTYPES, Verdict, matches, rank_candidates, recognise
from embcompress.tables.table import Table
from embcompress.tables.ties import are_equal
from embcompress.tables.unread_tables import find_unread_tables, tell_scattered
from embcompress.text import quoted, suggest_names

WILDCARDS = frozenset("*?[")
# Of a matrix that is proposed as a table: below, a header takes more than is won.
CANDIDATE_BYTES_MIN = 4096


@dataclass(frozen=True)
class Group:
    """A tensor of a checkpoint under all its names, and whether it is an embedding table."""

    names: tuple[str, ...]
    stored: StoredTensor
    verdict: Verdict

    @property
    def is_matrix(self) -> bool:
        """Whether it could be factored at all."""
        return self.stored.dtype in TABLE_DTYPES and len(self.stored.shape) >= 2 and self.stored.numel > 0


def group_tensors(
    tensors: Iterable[StoredTensor],
    *,
    files: Files | None = None,
    apart: Sequence[str] = (),
    is_whole: bool = True,
) -> tuple[Group, ...]:
    """Put tensors that are one under several names together, in the order of the file, and judge each.

    Args:
        tensors: of a checkpoint.
        files: to compare those that lie apart, where one of two of equal size is a table; None: only places count.
        apart: shell patterns that keep copies apart where one of two fits.
        is_whole: whether these are all the tensors of a model: then its only matrix is a table, whatever its name.
    """
    by_place: dict[object, list[StoredTensor]] = {}
    for stored in tensors:
        # Empty tensors all lie in the same place without being one tensor.
        by_place.setdefault(stored.memory_key if stored.numel else stored.name, []).append(stored)
    groups = []
    for members in by_place.values():
        names = tuple(member.name for member in members)
        first = members[0]
        groups.append(Group(names, first, recognise(names, shape=first.shape, dtype=first.dtype)))
    if files is not None:
        groups = _join_copies(groups, files=files, apart=apart)
    matrices = [group for group in groups if group.is_matrix]
    # The scales of blocks are a matrix, and often the only one that is left beside quantized ones.
    may_be_table = (
        is_whole and len(matrices) == 1 and not (matrices[0].verdict.is_table or matrices[0].verdict.is_scale)
    )
    if may_be_table and _is_worth_it(matrices[0].stored):
        only = replace(matrices[0], verdict=Verdict(is_table=True, reason="the only matrix of the file"))
        return tuple(only if group is matrices[0] else group for group in groups)
    return tuple(groups)


def _join_copies(groups: Sequence[Group], *, files: Files, apart: Sequence[str]) -> list[Group]:
    """Join a table with the tensors that are copies of it, such as a head that was saved a second time."""
    joined: list[Group] = []
    alike: dict[tuple[str, tuple[int, ...]], list[int]] = {}  # where in `joined` the matrices of a size are
    for group in groups:
        indices = alike.setdefault((group.stored.dtype, group.stored.shape), []) if group.is_matrix else []
        for index in indices:
            other = joined[index]
            is_table = group.verdict.is_table or other.verdict.is_table
            is_parted = matches(apart, other.names) != matches(apart, group.names)
            if is_table and not is_parted and are_equal(other.stored, group.stored, files=files):
                verdict = other.verdict if other.verdict.is_table else group.verdict
                joined[index] = replace(other, names=(*other.names, *group.names), verdict=verdict)
                break
        else:
            indices.append(len(joined))
            joined.append(group)
    return joined


def as_patterns(patterns: Sequence[str] | str) -> Sequence[str]:
    """Take one pattern as it is: as a sequence, a string would be one of its letters."""
    return [patterns] if isinstance(patterns, str) else patterns


def choose_tables(
    checkpoint: Checkpoint,
    *,
    table: Sequence[str] | str,
    exclude: Sequence[str] | str,
    bilinear: Sequence[str] | str = (),
    bases: int | None = None,
) -> tuple[Table, ...]:
    """Choose the tables of a checkpoint.

    Args:
        checkpoint: an open one. Copies of a table are read, to be taken for it: call this once.
        table: shell patterns of the tables to take, or one; empty: those recognised.
        exclude: shell patterns of the tables to leave, or one.
        bilinear: shell patterns of tables of matrices, which are taken, too.
        bases: the number asked for, if it is, for hints alone.

    Raises:
        TableError: none is chosen, a pattern matches nothing, or a name chosen is not a matrix of floats.
    """
    table, exclude, bilinear = (as_patterns(patterns) for patterns in (table, exclude, bilinear))
    groups = group_tensors(checkpoint.tensors, files=checkpoint.files, apart=exclude)
    every_name = [name for group in groups for name in group.names]
    _refuse_left_out([*table, *bilinear], every_name, checkpoint=checkpoint)
    for option, patterns in (("--table", table), ("--exclude", exclude), ("--bilinear", bilinear)):
        refuse_unmatched(option, patterns, every_name, path=checkpoint.path)
    chosen = []
    for group in groups:
        named = [name for name in group.names if matches([*table, *bilinear], [name])]
        if matches(exclude, group.names) or not (named or (not table and group.verdict.is_table)):
            continue
        if not group.is_matrix:
            if any(WILDCARDS.isdisjoint(pattern) for pattern in (*table, *bilinear) if pattern in group.names):
                raise _unfit(group, named[0], checkpoint=checkpoint)
            continue
        name = named[0] if named else recognised_name(group)
        others = tuple(other for other in group.names if other != name)
        reason = "asked for" if named else group.verdict.reason
        chosen.append(Table(name, others, group.stored, reason))
    for pattern in bilinear:
        if not any(matches([pattern], (item.name, *item.tied_names)) for item in chosen):
            raise TableError(
                f"--bilinear {pattern} leaves no table in {checkpoint.path}: what it matches is excluded, or no matrix "
                "of floats.",
                hint=f"`embcompress inspect {quoted(checkpoint.path)}` lists the tables.",
            )
    if not chosen:
        raise _nothing_chosen(checkpoint, groups, table=table, exclude=exclude, bases=bases)
    return tuple(chosen)


def _unfit(group: Group, name: str, *, checkpoint: Checkpoint) -> TableError:
    """Say why a tensor that was named is no table, and what to do."""
    unread = next((one for one in find_unread_tables(checkpoint) if one.name in group.names), None)
    scattered = tell_scattered(checkpoint) if len(group.stored.shape) == 1 else None
    what = unread.what if unread else group.stored.dtype
    why = (
        f"{checkpoint.path} holds {scattered[0]}"
        if scattered
        else f"a table has at least two axes and one of the dtypes {', '.join(TABLE_DTYPES)}"
    )
    hint = unread.hint if unread else scattered[1] if scattered else ""
    return TableError(
        f"{name!r} in {checkpoint.path} is {what} of shape {group.stored.shape}; {why}.",
        hint=hint or f"`embcompress inspect {quoted(checkpoint.path)}` lists the tables.",
    )


def _refuse_left_out(patterns: Iterable[str], names: Sequence[str], *, checkpoint: Checkpoint) -> None:
    """Refuse a pattern that fits nothing but tensors that were left out, by the reason of the first.

    Raises:
        TableError: there is one.
    """
    for pattern in patterns:
        left = next((one for one in checkpoint.listing.left_out if one.hint and matches([pattern], [one.name])), None)
        if left and not matches([pattern], names):
            raise TableError(f"{left.name!r} in {checkpoint.path} is {left.reason}.", hint=left.hint)


def refuse_unmatched(option: str, patterns: Sequence[str], names: Sequence[str], *, path: Path) -> None:
    """Refuse a pattern that matches no name, and suggest what was meant.

    Raises:
        TableError: there is one.
    """
    for pattern in patterns:
        if not matches([pattern], names):
            close = suggest_names(pattern, names)
            raise TableError(
                f"{option} {pattern} matches none of the {len(names)} tensors in {path}.",
                hint="Perhaps you meant:" if close else f"`embcompress inspect {quoted(path)}` lists them.",
                retries=[
                    Retry(tuple(part for other in patterns for part in (option, name if other == pattern else other)))
                    for name in close
                ],
            )


def recognised_name(group: Group) -> str:
    """Of several tied names, choose the first that names a table: the embedding, not the head tied to it."""
    stored = group.stored
    is_table = (recognise((name,), shape=stored.shape, dtype=stored.dtype).is_table for name in group.names)
    return next((name for name, is_one in zip(group.names, is_table, strict=True) if is_one), group.names[0])


def _nothing_chosen(
    checkpoint: Checkpoint,
    groups: Sequence[Group],
    *,
    table: Sequence[str],
    exclude: Sequence[str],
    bases: int | None,
) -> TableError:
    unread = [
        one
        for one in find_unread_tables(checkpoint)
        if not matches(exclude, [one.name]) and (not table or matches(table, [one.name]))
    ]
    matrices = [group.stored for group in groups if group.is_matrix]
    left = [group.stored for group in groups if group.is_matrix and not matches(exclude, group.names)]
    scales = {group.stored.name for group in groups if group.verdict.is_scale} if unread else set()
    candidates = rank_candidates([one for one in left if _is_worth_it(one) and one.name not in scales])
    if unread and (unread[0].is_named or not candidates):
        return TableError(
            f"no embedding table can be read from {checkpoint.path}: {unread[0].name!r} is {unread[0].what}.",
            hint=unread[0].hint,
        )
    if not checkpoint.tensors:
        return TableError(f"{checkpoint.path} holds no tensors.")
    if matrices and not left:
        return TableError(f"--exclude leaves no matrix of {checkpoint.path}.", hint="Exclude fewer.")
    scattered = None if candidates else tell_scattered(checkpoint)
    if scattered:
        what, hint = scattered
        return TableError(f"{checkpoint.path} holds {what}.", hint=hint)
    if not candidates:
        why = "large enough to get smaller" if matrices else "at all: only integers, vectors and numbers"
        return TableError(
            f"{checkpoint.path} holds no matrix of floats {why}.",
            hint=f"`embcompress inspect {quoted(checkpoint.path)}` lists its {len(groups)} tensors.",
        )
    what = "the patterns given leave no" if table or exclude else "no tensor is named like an"
    return TableError(
        f"{what} embedding table in {checkpoint.path}.",
        hint="The largest candidates:",
        retries=[
            Retry(
                ("--table", stored.name, *_fewer_bases(stored, bases)),
                f"{' x '.join(map(str, stored.shape))} {stored.dtype}",
            )
            for stored in candidates
        ],
    )


def _fewer_bases(stored: StoredTensor, bases: int | None) -> tuple[str, ...]:
    """Give the option of as many bases as make a matrix smaller, where those asked for do not."""
    table = Table(stored.name, (), stored)
    most = largest_rank(table, ITEM_BYTES[table.real_dtype])
    return () if bases is None or bases <= most else ("--bases", str(most))


def _is_worth_it(stored: StoredTensor) -> bool:
    """Tell whether a matrix could be a table that someone compresses: large enough, and smaller with one base."""
    table = Table(stored.name, (), stored)
    return table.nbytes >= CANDIDATE_BYTES_MIN and largest_rank(table, ITEM_BYTES[table.real_dtype]) > 0
