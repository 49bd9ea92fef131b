"""Tables put together from others: known rows from bases, the rest from a backfill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from embcompress.exceptions import IdsError
from embcompress.nn.base_checks import check_assignment, common_shape_of, device_of, dtype_of
from embcompress.nn.constrainers import RowFunction
from embcompress.nn.embedding import Embedding
from embcompress.nn.ids import Ids, as_ids, refuse
from embcompress.nn.low_rank import LowRankRepresentation
from embcompress.nn.match_base import match_base
from embcompress.nn.representation import Representation, Shape, positive

Kwargs = Mapping[str, Any] | None
Hint = Any  # a representation, ours or PyKEEN's, a class of one, a name of REPRESENTATIONS, or None for an Embedding


class PartitionRepresentation(Representation):
    """Rows taken from several representations, each id from one of them.

    Args:
        assignment: (max_id, 2) integers: which base, and which row of it.
        shape: of one row; if given it must be that of the bases.
        bases: representations, or classes or names of them.
        bases_kwargs: what makes the bases that are not made yet, one for all or one for each.
        max_id: the number of ids; if given, as PyKEEN's models do, it must be that of the assignment.
        normalizer, normalizer_kwargs, regularizer, regularizer_kwargs, dropout, unique: as in Representation.

    Raises:
        IdsError: a base or a row that does not exist, a base to which nothing is assigned, or another max_id.
        ValueError: bases of different shapes, dtypes or devices.

    Source: PyKEEN's documentation of pykeen.nn.representation.PartitionRepresentation.

    Example:
        >>> zeros = Embedding(max_id=2, shape=1, initializer="zeros")
        >>> ones = Embedding(max_id=1, shape=1, initializer="ones")
        >>> table = PartitionRepresentation(torch.tensor([[1, 0], [0, 1]]), bases=[zeros, ones])
        >>> table().tolist()
        [[1.0], [0.0]]
    """

    assignment: Tensor

    def __init__(
        self,
        assignment: Tensor,
        shape: Shape | None = None,
        bases: Hint | Sequence[Hint] = None,
        bases_kwargs: Kwargs | Sequence[Kwargs] = None,
        *,
        max_id: int | None = None,
        normalizer: str | RowFunction | None = None,
        normalizer_kwargs: Mapping[str, Any] | None = None,
        regularizer: Any = None,
        regularizer_kwargs: Mapping[str, Any] | None = None,
        dropout: float | None = None,
        unique: bool | None = None,
    ) -> None:
        made = _make_all(bases, bases_kwargs)
        row_shape = common_shape_of(made, shape)
        assignment = check_assignment(torch.as_tensor(assignment), made)
        if max_id not in (None, len(assignment)):
            raise IdsError(f"the assignment is of {len(assignment)} ids; max_id is {max_id}.")
        super().__init__(
            len(assignment),
            row_shape,
            normalizer=normalizer,
            normalizer_kwargs=normalizer_kwargs,
            regularizer=regularizer,
            regularizer_kwargs=regularizer_kwargs,
            dropout=dropout,
            unique=unique,
        )
        self.bases = nn.ModuleList(made)
        # Column by column in memory: two lookups of one number each took half the time of one lookup of pairs.
        self.register_buffer("assignment", assignment.to(self.device).T.contiguous().T)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the rows."""
        return dtype_of(self.bases[0])

    @property
    def device(self) -> torch.device:
        """The device of the bases."""
        return device_of(self.bases[0])

    def look_up(self, indices: Tensor | None) -> Tensor:
        """Return rows without the normalizer and dropout of this table, (*s, *shape); each base applies its own."""
        owner, row = self.assignment.unbind(1)
        if indices is not None:  # index_select refuses ids out of range, where indexing would count from the end
            owner, row = owner.index_select(0, indices.flatten()), row.index_select(0, indices.flatten())
        look_up = self._look_up_in_all if torch.compiler.is_compiling() else self._look_up_in_own
        return look_up(owner, row).view((*(owner.shape if indices is None else indices.shape), *self.shape))

    def reset_parameters(self) -> None:
        """Start the bases again, but for what is frozen or was given."""
        for base in self._each_base():
            base.reset_parameters()

    def post_parameter_update(self) -> None:
        """Apply the constraint of each base."""
        for base in self._each_base():
            base.post_parameter_update()

    def _each_base(self) -> Sequence[Any]:
        """List the bases as what they are, where a ModuleList tells only that they are modules."""
        return list(self.bases)

    def _look_up_in_own(self, owner: Tensor, row: Tensor) -> Tensor:
        """Look every row up in its own base alone, (count, *shape)."""
        if not len(owner):
            nothing: Tensor = self.bases[0](row)  # with its graph
            return nothing
        rows = torch.empty(len(owner), *self.shape, dtype=self.dtype, device=self.device)
        for number, base in enumerate(self.bases):
            positions = (owner == number).nonzero().squeeze(1)
            if len(positions):  # a regularizer of the base should see no empty tensor
                own_rows = base(row.index_select(0, positions)).to(rows.dtype)  # autocast may have changed it
                rows = rows.index_copy_(0, positions, own_rows)
        return rows

    def _look_up_in_all(self, owner: Tensor, row: Tensor) -> Tensor:
        """Look every row up in every base and select, (count, *shape): no size depends on ids, as a compiler needs.

        Raises:
            RuntimeError: a base has a regularizer, which would be shown rows that nobody asked for.
        """
        if any(getattr(base, "regularizer", None) is not None for base in self.bases):
            raise RuntimeError("a table of several bases cannot be compiled while a base has a regularizer.")
        rows: Tensor | None = None
        for number, base in enumerate(self.bases):
            is_here = owner == number  # (count,)
            base_rows: Tensor = base(torch.where(is_here, row, 0))
            rows = base_rows if rows is None else torch.where(is_here.view(-1, *[1] * len(self.shape)), base_rows, rows)
        assert rows is not None
        return rows


@dataclass
class Partition:
    """Ids whose rows a base holds: row j belongs to ids[j], in the order given.

    Attributes:
        ids: a sequence, array or tensor of integers; no set.
        base: a representation, or a class or a name of one.
        kwargs: what makes the base, if it is not made yet; max_id is the number of ids.
    """

    ids: Ids
    base: Hint
    kwargs: Kwargs = None


class MultiBackfillRepresentation(PartitionRepresentation):
    """Known rows from several bases, all others from a backfill, in ascending order of their ids.

    Args:
        max_id: the number of ids in all.
        partitions: the bases with their ids; no id in two of them.
        shape: of one row; if given it must be that of the bases.
        backfill: for the other ids: a representation of as many rows, or a class or a name of one. By default an
            Embedding whose entries are drawn from a normal distribution with the mean and deviation of the first base's
            entries. A backfill that is made here has the dtype, device, constrainer, normalizer and dropout of the
            first base unless `backfill_kwargs` says otherwise.
        backfill_kwargs: what makes the backfill.
        normalizer, normalizer_kwargs, regularizer, regularizer_kwargs, dropout, unique: as in Representation.

    Raises:
        IdsError: ids that are negative, duplicate, no integers, a set, empty, not below max_id, or in two partitions;
            a base or a backfill with more or fewer rows than it has ids.
        ValueError: bases or backfill of different shapes or dtypes.

    Source: PyKEEN's documentation of pykeen.nn.representation.MultiBackfillRepresentation.
    """

    def __init__(
        self,
        *,
        max_id: int,
        partitions: Sequence[Partition],
        shape: Shape | None = None,
        backfill: Hint = None,
        backfill_kwargs: Kwargs = None,
        **kwargs: Any,
    ) -> None:
        positive(max_id, name="max_id")
        if not partitions:
            raise ValueError("partitions are empty: at least one base is needed.")
        assignment = torch.empty(2, max_id, dtype=torch.long).T  # column by column, as it is kept
        owner, row = assignment.unbind(1)
        owner.fill_(len(partitions))  # the backfill comes last
        bases = []
        for number, partition in enumerate(partitions):
            ids = as_ids(
                partition.ids, max_id=max_id, name="base_ids" if len(partitions) == 1 else f"ids of base {number}"
            )
            refuse(ids[owner[ids] != len(partitions)], f"ids of base {number} must not belong to another base too; got")
            base = make_representation(partition.base, partition.kwargs, max_id=len(ids))
            if base.max_id != len(ids):
                raise IdsError(f"base {number} has {base.max_id} rows, and {len(ids)} ids were given for them.")
            owner[ids] = number
            row[ids] = torch.arange(len(ids))
            bases.append(base)
        new_ids = (owner == len(partitions)).nonzero().squeeze(1)
        common_shape_of(bases, shape)
        if len(new_ids):
            row[new_ids] = torch.arange(len(new_ids))
            bases.append(_make_backfill(backfill, backfill_kwargs, base=bases[0], count=len(new_ids)))
        elif isinstance(backfill, nn.Module):
            raise IdsError(f"the backfill has {backfill.max_id} rows, and all {max_id} ids have a base.")
        super().__init__(assignment, shape=shape, bases=bases, **kwargs)


class BackfillRepresentation(MultiBackfillRepresentation):
    """Known rows from one base, all others from a backfill.

    PyKEEN's models reset all modules when they are made, a base that was drawn and trained among them: give trained
    rows by `Embedding.from_pretrained`.

    Args:
        max_id: the number of ids in all.
        base_ids: the ids of the base's rows: row j belongs to base_ids[j].
        base: a representation, or a class or a name of one.
        base_kwargs: what makes the base, if it is not made yet.
        backfill, backfill_kwargs: as in MultiBackfillRepresentation.
        kwargs: shape, normalizer, normalizer_kwargs, regularizer, regularizer_kwargs, dropout, unique.

    Source: PyKEEN's documentation of pykeen.nn.representation.BackfillRepresentation.

    Example:
        >>> known = Embedding.from_pretrained(torch.tensor([[1.0], [2.0]]))
        >>> table = BackfillRepresentation(max_id=3, base_ids=[2, 0], base=known)
        >>> table(torch.tensor([0, 2])).tolist()
        [[2.0], [1.0]]
    """

    def __init__(
        self,
        max_id: int,
        base_ids: Ids,
        base: Hint = None,
        base_kwargs: Kwargs = None,
        backfill: Hint = None,
        backfill_kwargs: Kwargs = None,
        **kwargs: Any,
    ) -> None:
        partition = Partition(base_ids, base, base_kwargs)
        super().__init__(
            max_id=max_id, partitions=[partition], backfill=backfill, backfill_kwargs=backfill_kwargs, **kwargs
        )


REPRESENTATIONS: Mapping[str, type[Representation]] = MappingProxyType(
    {
        "Embedding": Embedding,
        "LowRankRepresentation": LowRankRepresentation,
        "PartitionRepresentation": PartitionRepresentation,
        "MultiBackfillRepresentation": MultiBackfillRepresentation,
        "BackfillRepresentation": BackfillRepresentation,
    }
)


def make_representation(hint: Hint, kwargs: Kwargs = None, **defaults: Any) -> Any:
    """Make a representation from a class or a name, or pass one through that is made already.

    Args:
        hint: a module, a class, a name of REPRESENTATIONS in any case, with or without "Representation", or None for an
            Embedding.
        kwargs: of its constructor.
        defaults: the same, where `kwargs` says nothing.

    Raises:
        ValueError: nothing has this name, or a module that is made already comes with arguments to make it.
    """
    if not isinstance(hint, nn.Module):
        return _class_of(hint)(**{**defaults, **(kwargs or {})})
    if kwargs:
        raise ValueError(f"a {type(hint).__name__} that is made already takes no arguments; got {', '.join(kwargs)}.")
    return hint


def _class_of(hint: Hint) -> Any:
    if hint is None:
        return Embedding
    if not isinstance(hint, str):
        return hint
    wanted = _plain(hint)
    for name, cls in REPRESENTATIONS.items():
        if wanted == _plain(name):
            return cls
    raise ValueError(f"no representation is called {hint!r}; there are {', '.join(REPRESENTATIONS)}.")


def _plain(name: str) -> str:
    """Reduce a name to what tells it from others: no case, no separators, no "representation"."""
    return "".join(filter(str.isalnum, name)).lower().removesuffix("representation")


def _make_all(bases: Any, bases_kwargs: Any) -> list[Any]:
    is_one = (
        bases is None or isinstance(bases, str | type) or (isinstance(bases, nn.Module) and hasattr(bases, "max_id"))
    )
    hints = [bases] if is_one else list(bases)
    if not hints:
        raise ValueError("bases are empty: at least one is needed.")
    if bases_kwargs is None or isinstance(bases_kwargs, Mapping):
        bases_kwargs = [bases_kwargs] * len(hints)
    if len(bases_kwargs) != len(hints):
        raise ValueError(f"{len(hints)} bases need as many bases_kwargs; got {len(bases_kwargs)}.")
    return [make_representation(hint, kwargs) for hint, kwargs in zip(hints, bases_kwargs, strict=True)]


def _make_backfill(hint: Hint, kwargs: Kwargs, *, base: Any, count: int) -> Any:
    """Make the rows of new ids, like those of the base unless told otherwise."""
    given = {} if isinstance(hint, nn.Module) else {"max_id": count, **(kwargs or {})}
    if (backfill_rows := hint.max_id if isinstance(hint, nn.Module) else given["max_id"]) != count:
        raise IdsError(f"the backfill has {backfill_rows} rows, and {count} ids are new.")
    if isinstance(hint, nn.Module):
        return make_representation(hint, kwargs)
    cls = _class_of(hint)
    inherited: dict[str, Any] = {} if "embedding_dim" in given else {"shape": tuple(base.shape)}
    if cls in (Embedding, LowRankRepresentation):
        inherited |= {"dtype": dtype_of(base), "device": device_of(base)}
        num_bases = given.get("num_bases", 3) if cls is LowRankRepresentation else None
        inherited |= match_base(base, num_bases=num_bases, given=given)
        if "initializer" not in given:  # its arguments are among those of the one inherited
            given.pop("initializer_kwargs", None)
    backfill = cls(**{**inherited, **given})
    if isinstance(backfill, Embedding):  # the first lookup comes before the first step, and a frozen one takes none
        backfill.constrain()
    return backfill
