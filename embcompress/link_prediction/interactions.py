"""PyKEEN's interactions: the one that a checkpoint or the user names, made again as it was in training."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from embcompress.checkpoints import Checkpoint
from embcompress.checkpoints.tensors import ModuleRecord, Plain, StoredTensor
from embcompress.choices import Choice
from embcompress.exceptions import TableError, UsageError
from embcompress.nn.pykeen import load_pykeen, quiet
from embcompress.text import named

OPTION = "--interaction"
PART = "interaction"  # of a model of PyKEEN
SUFFIX = "Interaction"  # of the names of its classes
CLAMPED, BASE = "ClampedInteraction", "base"  # keeps the scores of its base within bounds; of SimplE
NUMBERS = ("int", "float", "bool", int, float, bool)  # annotations of what can be given as key=number
CANDIDATES_MAX = 12  # interactions that a message names
MAKING_FAILS = (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, AttributeError, AssertionError)
# What constructors of PyKEEN raise on arguments that do not fit.


@dataclass(frozen=True)
class Interaction:
    """The function that scores a triple, and the arguments that it is made with.

    Attributes:
        cls: PyKEEN's class.
        arguments: of its constructor.
        records: what the checkpoint says of the modules in it, by their path; empty where it says nothing.
    """

    cls: Any
    arguments: Mapping[str, Any]
    records: Mapping[str, ModuleRecord] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """PyKEEN's name of it, as in "ComplEx"; of one around another, that one's."""
        return _short(self.arguments.get(BASE, self.cls))

    def make(self) -> Any:
        """Make the module, with parameters as they are drawn.

        Raises:
            TableError: PyKEEN makes another module than the checkpoint tells of.
        """
        try:
            module = self.cls(**self.arguments)
        except MAKING_FAILS as err:
            raise TableError(f"PyKEEN cannot make the interaction {self.name} again: {err}.") from err
        modules = dict(module.named_modules())
        if self.records and modules.keys() != self.records.keys():
            paths = sorted(modules.keys() ^ self.records.keys())
            raise self._refusal(f"its parts are not those that PyKEEN makes: {named(paths)}")
        for path, record in self.records.items():
            self._restore(modules[path], record, at=f" at {path!r}" if path else "")
        return module

    def _restore(self, module: Any, record: ModuleRecord, *, at: str) -> None:
        """Give a module the plain attributes that it had, and check the others."""
        if dotted(type(module)) != record.class_name:
            raise self._refusal(f"it has a {record.class_name!r}{at}, where PyKEEN makes a {dotted(type(module))!r}")
        for name, value in record.values.items():
            if name in vars(module):
                setattr(module, name, value)
            elif getattr(module, name, not value) != value:
                raise self._refusal(f"PyKEEN does not know its {name!r}{at}")
        for name, what in record.names.items():
            current = getattr(module, name, None)
            is_known = (inspect.isfunction(current) or inspect.isclass(current)) and what.keywords == {}
            if "initializer" not in name and not (is_known and dotted(current) == what.name):
                raise self._refusal(f"nothing tells its {name!r}{at}, a {what.name!r}")

    def _refusal(self, why: str) -> TableError:
        return TableError(
            f"the interaction {self.name} of the checkpoint cannot be made again: {why}.",
            hint="Score such a model with PyKEEN itself, by the version that trained it.",
        )


def dotted(thing: Any) -> str:
    """Name a class or function with its module."""
    return f"{thing.__module__}.{thing.__qualname__}"


def choose_interaction(checkpoint: Checkpoint, text: str | None, *, widths: Mapping[str, Sequence[int]]) -> Interaction:
    """Settle which interaction scores the triples of a checkpoint.

    Args:
        checkpoint: the original.
        text: NAME or NAME:key=number,key=number as the user gave it; None to go by the checkpoint.
        widths: columns of its tables, of complex ones counted as reals: of "entity" and of "relation".

    Raises:
        OutputError: PyKEEN is not installed.
        UsageError: no such interaction, no such argument, one that is missing, or another than the checkpoint's own;
            or none given where the checkpoint does not tell.
        TableError: the checkpoint's own is none of PyKEEN's.
    """
    classes = {_short(cls).lower(): cls for cls in load_pykeen("pykeen.nn.modules").interaction_resolver}
    modules = checkpoint.listing.graph_model
    records = {path[len(PART) + 1 :]: record for path, record in modules.items() if _is_part(path)}
    own = _own_interaction(checkpoint, classes, is_given=text is not None)
    chosen = None if text is None else _parse(text, classes)
    if own is None and chosen is None:
        offered = _fitting(classes, checkpoint, widths)
        likely = f" Its tables fit {', '.join(offered)}." if offered else ""
        raise UsageError(
            f"{checkpoint.path} does not tell how it scores triples: a state dict holds tensors alone.{likely}",
            hint=f"Give the one it was trained with, {OPTION} NAME, or the model that PyKEEN pickled.",
        )
    if chosen is not None and own is not None and classes[chosen.name] is not own:
        raise UsageError(
            f"{OPTION} {_short(classes[chosen.name])}: {checkpoint.path} was trained with {_short(own)}.",
            hint=f"Leave {OPTION} out.",
        )
    cls = own if chosen is None else classes[chosen.name]
    is_around = own is not None and records[""].class_name != dotted(own)
    known: dict[str, Plain] = {} if own is None else dict(records[BASE if is_around else ""].values)
    given = {} if chosen is None else _as_arguments(chosen, cls)
    for name, value in given.items():
        if name in known and known[name] != value:
            raise UsageError(
                f"{OPTION} {text}: {checkpoint.path} was trained with {name}={known[name]}.",
                hint=f"Leave {OPTION} out.",
            )
    arguments, missing = _collect_arguments(cls, (given, known, _derived(checkpoint, widths)))
    if missing:
        raise UsageError(
            f"the interaction {_short(cls)} needs {', '.join(missing)}, and nothing in {checkpoint.path} tells.",
            hint=f"Give {OPTION} {_short(cls)}:{','.join(f'{name}=NUMBER' for name in missing)}."
            if all(_parameters(cls)[name].annotation in NUMBERS for name in missing)
            else "Give the model that PyKEEN pickled, trained_model.pkl.",
        )
    if is_around:
        arguments = {BASE: cls, f"{BASE}_kwargs": arguments}
        cls = getattr(load_pykeen("pykeen.nn.modules"), CLAMPED)
    return Interaction(cls, arguments, {} if own is None else records)


def interaction_tensors(checkpoint: Checkpoint) -> list[StoredTensor]:
    """List the parameters and buffers of a checkpoint's interaction."""
    return [tensor for tensor in checkpoint.tensors if tensor.name.startswith(f"{PART}.")]


def check_parameters(interaction: Interaction, checkpoint: Checkpoint) -> Any:
    """Check that the checkpoint's interaction has the parameters of the one that is made; return one without values.

    Raises:
        TableError: it has others; names the first few.
    """
    with torch.device("meta"), quiet():  # no memory is taken for sizes that a file only claims
        module = interaction.make()
        expected = {f"{PART}.{name}": tuple(value.shape) for name, value in module.state_dict().items()}
    shapes = {tensor.name: tensor.shape for tensor in interaction_tensors(checkpoint)}
    wrong = sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name))
    if wrong:
        first = wrong[0]
        raise TableError(
            f"the interaction {interaction.name} does not fit to {checkpoint.path}: {first!r} should be "
            f"{expected.get(first, 'missing')}, and is {shapes.get(first, 'missing')}.",
            hint=f"Give its arguments: {OPTION} {interaction.name}:key=number.",
        )
    return module


def solve_shapes(symbols: Sequence[str], widths: Sequence[int]) -> list[tuple[int, ...]] | None:
    """Find the shapes of rows from how PyKEEN writes them: a letter an axis, the same letter the same size.

    Returns:
        A shape a table; None where the widths do not fit, or do not tell.

    Example:
        >>> solve_shapes(["d", "dd"], [64, 4096])
        [(64,), (64, 64)]
    """
    if len(symbols) != len(widths):
        return None
    sizes: dict[str, int] = {}
    for _ in symbols:
        for letters, width in zip(symbols, widths, strict=True):
            unknown = [letter for letter in letters if letter not in sizes]
            for letter in letters:
                width //= sizes.get(letter, 1)  # noqa: PLW2901 - what is left for the others
            if len(set(unknown)) == 1:
                sizes[unknown[0]] = round(width ** (1 / len(unknown)))
    shapes = []
    for letters, width in zip(symbols, widths, strict=True):
        if any(letter not in sizes for letter in letters):
            return None
        shape = tuple(sizes[letter] for letter in letters)
        product = 1
        for size in shape:
            product *= size
        if product != width:
            return None
        shapes.append(shape)
    return shapes


def _short(cls: Any) -> str:
    name: str = cls.__name__
    return name.removesuffix(SUFFIX)


def _is_part(path: str) -> bool:
    return path == PART or path.startswith(f"{PART}.")


def _own_interaction(checkpoint: Checkpoint, classes: Mapping[str, Any], *, is_given: bool) -> Any:
    """Find the class of the checkpoint's own interaction; None where it does not tell one of PyKEEN's."""
    records = checkpoint.listing.graph_model
    if not records:
        return None
    model, class_name = records[""].class_name, records[PART].class_name
    if class_name == f"pykeen.nn.modules.{CLAMPED}" and f"{PART}.{BASE}" in records:
        class_name = records[f"{PART}.{BASE}"].class_name
    interaction = next((cls for cls in classes.values() if dotted(cls) == class_name), None)
    is_foreign = not re.match(r"pykeen\.models\.(unimodal\.|nbase\.ERModel$)", model)
    if not is_given and (is_foreign or interaction is None):
        what = f"is a model of the class {model!r}" if is_foreign else f"scores triples by {class_name!r}"
        raise TableError(
            f"{checkpoint.path} {what}, whose code is not run, and which is not one of PyKEEN's own.",
            hint=f"Give {OPTION} NAME if one of PyKEEN's interactions, by itself, scores its triples.",
        )
    return interaction


def _parse(text: str, classes: Mapping[str, Any]) -> Choice:
    name, colon, listed = text.partition(":")
    wanted = name.lower().removesuffix(SUFFIX.lower())
    if wanted not in classes:
        close = difflib.get_close_matches(wanted, classes, n=1)
        names = ", ".join(sorted(map(_short, classes.values()), key=str.lower))
        raise UsageError(
            f"{OPTION} must be one of {names}; got {name!r}.",
            hint=f"Did you mean {_short(classes[close[0]])}?" if close else "",
        )
    return Choice.parse(wanted + colon + listed, dict.fromkeys(classes, ""), option=OPTION)


def _parameters(cls: Any) -> dict[str, inspect.Parameter]:
    """List what the constructor of an interaction takes; nothing for those that have none of their own."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = list(inspect.signature(cls.__init__).parameters.items())[1:]  # but for self
    return {name: parameter for name, parameter in parameters if parameter.kind not in kinds}


def _as_arguments(choice: Choice, cls: Any) -> dict[str, Any]:
    """Turn the numbers of a choice into what the constructor takes."""
    parameters = _parameters(cls)
    if unknown := [name for name in choice.arguments if name not in parameters]:
        takes = f"takes {', '.join(parameters)}" if parameters else "takes no arguments"
        raise UsageError(f"{OPTION} {choice}: {_short(cls)} {takes}; got {unknown[0]!r}.")
    arguments: dict[str, Any] = {}
    for name, number in choice.arguments.items():
        is_switch = isinstance(parameters[name].default, bool) or parameters[name].annotation in ("bool", bool)
        if is_switch and number not in (0, 1):
            raise UsageError(f"{OPTION} {choice}: {name} is 0 or 1; got {number:g}.")
        arguments[name] = bool(number) if is_switch else int(number) if number.is_integer() else number
    return arguments


def _derived(checkpoint: Checkpoint, widths: Mapping[str, Sequence[int]]) -> dict[str, Plain]:
    """Return arguments by the tensors: PyKEEN's names of what they show."""
    return {
        "embedding_dim": widths["entity"][0],
        "relation_dim": widths["relation"][0],
        "apply_batch_normalization": any("batch_norm" in tensor.name for tensor in interaction_tensors(checkpoint)),
    }


def _collect_arguments(cls: Any, sources: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Find the arguments of an interaction in the first source that has each, and list those that none has."""
    arguments: dict[str, Any] = {}
    missing = []
    for name, parameter in _parameters(cls).items():
        source = next((one for one in sources if name in one), None)
        if source is not None:
            arguments[name] = source[name]
        elif parameter.default is parameter.empty:
            missing.append(name)
    return arguments, missing


def _fitting(classes: Mapping[str, Any], checkpoint: Checkpoint, widths: Mapping[str, Sequence[int]]) -> list[str]:
    """List the interactions that a checkpoint could be of, as they are given, those without arguments first."""
    candidates = []
    for cls in classes.values():
        arguments, missing = _collect_arguments(cls, ({"p": 1}, _derived(checkpoint, widths)))
        shapes = getattr(cls, "entity_shape", None), getattr(cls, "relation_shape", None)
        if missing or not all(isinstance(shape, tuple) for shape in shapes):
            continue
        step = 2 if cls.is_complex else 1
        columns = [width for side in ("entity", "relation") for width in widths[side]]
        symbols = [letters for side in shapes for letters in side or ()]
        if any(width % step for width in columns) or len(shapes[0] or ()) != len(widths["entity"]):
            continue
        if solve_shapes(symbols, [width // step for width in columns]):
            try:
                check_parameters(Interaction(cls, arguments), checkpoint)
            except TableError:
                continue
            is_free = _parameters(cls).get("p") is None or _parameters(cls)["p"].default is not inspect.Parameter.empty
            candidates.append((not is_free, _short(cls) + ("" if is_free else ":p=1")))
    return [name for _, name in sorted(candidates)[:CANDIDATES_MAX]]
