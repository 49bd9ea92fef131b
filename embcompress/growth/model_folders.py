"""The parts of a Hugging Face folder that grow with the vocabulary: untied heads, their biases, vocab_size."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from embcompress.artifact.output import Output, companions_of
from embcompress.artifact.writer import Entry
from embcompress.checkpoints import Checkpoint, StoredTensor
from embcompress.checkpoints.hugging_face.file_names import SEPARATOR
from embcompress.checkpoints.hugging_face.folder_files import read_json
from embcompress.exceptions import DamagedFileError
from embcompress.growth.placement import Placement
from embcompress.growth.plan import Base, BaseTable, GrowthPlan
from embcompress.tables.recognition import TABLE_DTYPES
from embcompress.tables.table import REAL_PARTS

CONFIG, SIZE, NESTED = "config.json", "vocab_size", "text_config"
# In the names of tables that differ in whose rows they hold, even where they have equally many.
NAMED_ROLES = ("entit", "relation", "user", "item", "wpe", "pos", "token_type", "segment")
# The layers of transformers' models that score the vocabulary.
HEAD = re.compile(
    r"(?:.*[./])?(?:lm_head|lm_loss|pred_layer\.proj|embed_out|generator_lm_head|vocab_projector|output_projection"
    r"|(?:lm_head|predictions)\.decoder)"
)
BIAS = re.compile(rf"(?:{HEAD.pattern}|(?:.*[./])?predictions)\.bias")
# Of BART and its kin, (1, rows); transformers resizes it with zeros, and biases of linear layers with their mean.
LOGITS_BIAS = re.compile(r"(?:.*[./])?final_logits_bias")


@dataclass(frozen=True)
class Configuration:
    """The config.json of a model, or of a module in its folder: its name there, and its content."""

    name: str
    content: Mapping[str, Any]

    @property
    def prefix(self) -> str:
        """The folder that the names of its tensors begin with; empty: the model's own."""
        return PurePath(self.name).parent.as_posix().removeprefix(".")

    def sizes(self) -> set[int]:
        """Collect every vocab_size, also of nested configurations of text."""
        return {holder[SIZE] for holder in _holders(self.content)}

    def with_size(self, old: int, new: int) -> bytes:
        """Make the file with `new` wherever vocab_size is `old`."""
        content = json.loads(json.dumps(self.content))
        for holder in _holders(content):
            if holder[SIZE] == old:
                holder[SIZE] = new
        return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _holders(content: Any) -> Iterator[Any]:
    """List the objects that have a vocab_size: the whole, and what is called text_config at any depth."""
    if type(content.get(SIZE)) is int:
        yield content
    pending = [content]
    while pending:
        for name, value in pending.pop().items():
            if isinstance(value, dict):
                pending.append(value)
                if name == NESTED and type(value.get(SIZE)) is int:
                    yield value


def read_configurations(checkpoint: Checkpoint) -> tuple[Configuration, ...]:
    """Read each config.json of a folder; what is no object of JSON is passed over."""
    configurations = []
    for name, path in companions_of(checkpoint).items():
        if path.name != CONFIG:
            continue
        try:
            content = read_json(path, checkpoint.files)
        except DamagedFileError:
            continue
        if isinstance(content, dict):
            configurations.append(Configuration(PurePath(name).as_posix(), content))
    return tuple(configurations)


def is_head(name: str) -> bool:
    """Tell whether a tensor is named as the weight of a layer that scores the vocabulary."""
    return name.endswith(".weight") and HEAD.fullmatch(name.removesuffix(".weight")) is not None


def find_heads(
    parts: Iterable[BaseTable], chosen: Sequence[BaseTable], configurations: Sequence[Configuration]
) -> tuple[BaseTable, ...]:
    """Find untied heads that grow with embeddings: of a model whose vocab_size is the number of their rows.

    Args:
        parts: all matrices of a base.
        chosen: the tables that grow, all of one number of rows.
        configurations: of its folder.
    """
    rows = chosen[0].table.rows
    prefixes = {_prefix(part.table.name) for part in chosen if _is_input(part.table.name)}
    models = {one.prefix for one in configurations if one.prefix in prefixes and rows in one.sizes()}
    return tuple(
        part
        for part in parts
        if part.table.rows == rows
        and part not in chosen
        and is_head(part.table.name)
        and _prefix(part.table.name) in models
    )


@dataclass(frozen=True)
class HeadBias:
    """A bias of a head that grows.

    Attributes:
        parts: the tensor in each base, (rows,) or (1, rows).
        bases: where these lie.
        placement: of the rows.
        entry: what is written.
    """

    parts: tuple[StoredTensor, ...]
    bases: tuple[Base, ...]
    placement: Placement
    entry: Entry

    @property
    def is_zeroed(self) -> bool:
        """Whether new entries are zeros, and not the mean of the others."""
        return LOGITS_BIAS.fullmatch(self.entry.name) is not None


@dataclass(frozen=True)
class ModelGrowth:
    """The parts of a model that grow beside its tables.

    Attributes:
        output: with the new config.json, where a folder is written.
        biases: of heads.
        notes: sentences on what was changed.
        warnings: sentences on what has to be changed by hand.
    """

    output: Output
    biases: tuple[HeadBias, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def plan_model(output: Output, bases: Sequence[Base], plans: Sequence[GrowthPlan]) -> ModelGrowth:
    """Plan the biases of heads and the vocab_size of a folder whose embeddings grow.

    Args:
        output: where the model goes.
        bases: open.
        plans: of the tables.
    """
    first, old, new = bases[0], plans[0].first.table.rows, plans[0].placement.max_id
    names = [plan.first.table.name for plan in plans]
    inputs = [name for name in names if _is_input(name)]
    configurations = [
        one
        for one in read_configurations(first.checkpoint)
        if one.sizes() and one.prefix in {_prefix(name) for name in inputs}
    ]
    models = {one.prefix for one in configurations if old in one.sizes()}
    biases = _find_biases(bases, plans[0].placement, rows=[part.table.rows for part in plans[0].parts], models=models)
    notes = [
        f"{name!r} is a head that is not tied, and has new rows as the embeddings have"
        for name in names
        if is_head(name) and _prefix(name) in models
    ]
    if new > old:
        notes += [
            f"the new entries of {bias.entry.name!r} are {'zeros' if bias.is_zeroed else 'the mean of the known ones'}"
            for bias in biases
        ]
    new_ids = plans[0].placement.new_ids[0]
    warnings = [warning for one in configurations if old in one.sizes() for warning in _moved_tokens(one, new_ids)]
    contents: dict[str, bytes] = {}
    for one in configurations if new != old else ():
        if output.form is None:
            if old in one.sizes():
                warnings.append(f"{one.name} of the model has {SIZE} {old}, and needs {new} beside the new file")
        elif old in one.sizes():
            contents[one.name] = one.with_size(old, new)
            notes.append(f"{SIZE} in {one.name} is {new}; it was {old}")
        else:
            sizes = " and ".join(map(str, sorted(one.sizes())))
            warnings.append(f"{one.name} has {SIZE} {sizes}, and {inputs[0]!r} had {old} rows: it was left as it is")
    return ModelGrowth(output.with_contents(contents), biases, tuple(notes), tuple(warnings))


def _moved_tokens(configuration: Configuration, new_ids: Sequence[int]) -> list[str]:
    """Warn of the tokens that a configuration names by an id that another row has now."""
    moved = [
        f"{key} {number}"
        for key, number in configuration.content.items()
        if key.endswith("_token_id")
        and type(number) is int
        and 0 <= number < len(new_ids)
        and new_ids[number] != number
    ]
    if not moved:
        return []
    return [
        f"{configuration.name} names tokens by ids that moved or went: {', '.join(moved)}. Change them there and in "
        "generation_config.json"
    ]


def _find_biases(
    bases: Sequence[Base], placement: Placement, *, rows: Sequence[int], models: set[str]
) -> tuple[HeadBias, ...]:
    """Find the biases of heads that every base has, with an entry for each of its rows."""
    dense = [{stored.name: stored for stored in base.dense} for base in bases]
    biases = []
    for name, stored in dense[0].items():
        if _prefix(name) not in models or stored.dtype not in TABLE_DTYPES or stored.dtype in REAL_PARTS:
            continue
        before = () if BIAS.fullmatch(name) else (1,) if LOGITS_BIAS.fullmatch(name) else None
        parts = tuple(own[name] for own in dense if name in own)
        if before is None or [part.shape for part in parts] != [(*before, count) for count in rows]:
            continue
        if {part.dtype for part in parts} == {stored.dtype}:
            entry = Entry(name, stored.dtype, (*before, placement.max_id))
            biases.append(HeadBias(parts, tuple(bases), placement, entry))
    return tuple(biases)


def _prefix(name: str) -> str:
    return name.rpartition(SEPARATOR)[0]


def _is_input(name: str) -> bool:
    """Tell whether a table may be that of the tokens that a model reads."""
    return not is_head(name) and not any(role in name.lower() for role in NAMED_ROLES)
