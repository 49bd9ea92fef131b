"""A table that gets rows for new ids: where it lies, which rows go where, what will be written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embcompress.artifact.limits import check_expansion
from embcompress.artifact.reader import Artifact, is_artifact, read_artifact
from embcompress.artifact.schema import CompressedTable
from embcompress.artifact.writer import Entry
from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.choices import CONSTRAINERS, DEFAULT_METHOD, METHODS, NO_CONSTRAINER, Choice
from embcompress.exceptions import UsageError
from embcompress.growth.placement import Placement
from embcompress.results import TableHead

if TYPE_CHECKING:
    from embcompress.artifact.coded import CodedFactors


NEEDS_ARGUMENTS = frozenset({"init_phases", "complex_normalize", "clamp", "clamp_norm"})  # need pairs, a bound, a norm


@dataclass(frozen=True)
class Base:
    """An open base: a dense checkpoint, or an artifact."""

    checkpoint: Checkpoint
    artifact: Artifact | None

    @classmethod
    def of(cls, checkpoint: Checkpoint, *, allow_expansion: bool = False) -> Base:
        """Read the header of an artifact, if it is one.

        Raises:
            ArtifactError: as `read_artifact` and `check_expansion`.
        """
        if not is_artifact(checkpoint):
            return cls(checkpoint, None)
        return cls(checkpoint, check_expansion(read_artifact(checkpoint), is_allowed=allow_expansion))

    @property
    def path(self) -> Path:
        """The path of the checkpoint."""
        return self.checkpoint.path

    @property
    def dense(self) -> tuple[StoredTensor, ...]:
        """The tensors that are stored as they are."""
        return self.checkpoint.tensors if self.artifact is None else self.artifact.copied


@dataclass(frozen=True)
class BaseTable:
    """A table in one base.

    Attributes:
        table: its name, size and dtype; its entry in the artifact, if it is compressed.
        tensors: that hold it: the rows themselves; bases and weights; or codes and what decodes them.
        base: where it lies.
        is_recognised: whether it looks like a table by itself.
    """

    table: TableHead
    tensors: tuple[StoredTensor, ...]
    base: Base
    is_recognised: bool

    @property
    def compressed(self) -> CompressedTable | None:
        """Its entry in the artifact's header; None where it is dense."""
        return self.table if isinstance(self.table, CompressedTable) else None

    @property
    def is_coded(self) -> bool:
        """Whether its weights are coded."""
        return self.compressed is not None and self.compressed.is_coded

    @property
    def coding(self) -> str:
        """The coding of its rows: "dense", "plain" or "coded"."""
        return "dense" if self.compressed is None else self.compressed.coding

    @property
    def stored(self) -> StoredTensor:
        """The rows themselves, or their weights; not of a coded table."""
        assert not self.is_coded
        return self.tensors[-1]

    @property
    def bases(self) -> StoredTensor | None:
        """The bases of a compressed table; not of a coded one."""
        assert not self.is_coded
        return None if self.compressed is None else self.tensors[0]


@dataclass(frozen=True)
class GrowingTable:
    """A table that gets rows: the same in every base, one after the other.

    Attributes:
        parts: the table in each base.
        padding: for each base how many of its rows have no label.
    """

    parts: tuple[BaseTable, ...]
    padding: tuple[int, ...]

    @property
    def first(self) -> BaseTable:
        """The table in the first base, whose names it keeps."""
        return self.parts[0]


@dataclass(frozen=True)
class RowRequest:
    """The way in which new rows are made.

    Attributes:
        method: of METHODS.
        constrainer: of CONSTRAINERS, or None.
        seed: of the draws.
        may_draw: whether rows that a fill lacks are drawn.
        may_be_told: whether a constrainer that the checkpoint tells of a table is applied to rows that are drawn.
        block_rows: rows that are held at once; None: as many as a block of the usual size has.
    """

    method: Choice
    constrainer: Choice | None
    seed: int
    may_draw: bool
    may_be_told: bool = False
    block_rows: int | None = None

    @classmethod
    def read(
        cls, *, method: str | None, constrainer: str | None, seed: int, has_fill: bool, block_rows: int | None
    ) -> RowRequest:
        """Read how rows are to be made; without a method, those that are given are not drawn.

        Raises:
            UsageError: a name or an argument that METHODS or CONSTRAINERS does not have, or blocks of no rows.
        """
        drawn_by = Choice.parse(method or DEFAULT_METHOD, METHODS, option="--method")
        held_to = None
        if constrainer not in (None, NO_CONSTRAINER):
            held_to = Choice.parse(constrainer, CONSTRAINERS, option="--constrainer")
        if block_rows is not None and block_rows < 1:
            raise UsageError(f"block_rows must be at least 1; got {block_rows}.")
        return cls(
            method=drawn_by,
            constrainer=held_to,
            seed=seed,
            may_draw=method is not None or not has_fill,
            may_be_told=constrainer is None and not has_fill,
            block_rows=block_rows,
        )

    @property
    def is_plain(self) -> bool:
        """Whether names alone say it all, so that nothing has to be tried: without arguments, and for any shape."""
        chosen = [choice for choice in (self.method, self.constrainer) if choice is not None]
        return not any(choice.arguments or choice.name in NEEDS_ARGUMENTS for choice in chosen)


@dataclass(frozen=True)
class Fill:
    """A tensor of rows for new ids, and the checkpoint that holds it."""

    stored: StoredTensor
    base: Base


@dataclass(frozen=True)
class CodedGrowth:
    """The plan of a coded table that grows.

    Attributes:
        factors: all of the base's table but its codes.
        model: a kind whose step and scale new rows get; None where no id is new.
        entries: the tensors, by what their names end in; how long they get is known once they are written.
    """

    factors: CodedFactors
    model: int | None
    entries: Mapping[str, Entry]


@dataclass(frozen=True)
class GrowthPlan(GrowingTable):
    """A table that gets rows, and what will be written of it.

    Attributes:
        placement: where the rows go.
        entries: the dense table under each of its names, or everything that holds a compressed one.
        rank: the number of bases, those of all parts together where they differ, or of coded columns; None for a dense
            table.
        coded: what else is known of a coded table.
        fill: the new rows given.
        filled: the id of each row of the fill; empty for the order of the new ids.
        constrainer: applied to the new rows; None for nothing.
        remark: on the constraint in the checkpoint; empty without one.
    """

    placement: Placement
    entries: tuple[Entry, ...]
    rank: int | None
    coded: CodedGrowth | None
    fill: Fill | None
    filled: Sequence[int]
    constrainer: Choice | None = None
    remark: str = ""

    @property
    def is_stacked(self) -> bool:
        """Whether the bases of several artifacts stand beside each other, since they differ."""
        compressed = self.first.compressed
        return compressed is not None and self.rank != compressed.rank


def names_of(tables: Iterable[GrowingTable]) -> set[str]:
    """List every name that a table stands under in the first base, factors included."""
    names: set[str] = set()
    for table in tables:
        names |= {*table.first.table.names, *(tensor.name for tensor in table.first.tensors)}
    return names


def planned_bytes(plan: GrowthPlan) -> int:
    """Count the bytes of everything that holds a table, under one of its names; of a coded one about."""
    return sum(entry.nbytes for entry in (plan.entries if plan.rank else plan.entries[:1]))
