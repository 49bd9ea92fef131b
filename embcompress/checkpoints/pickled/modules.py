"""The attributes of pickled modules besides their tensors; nothing of them is run, imported or trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from embcompress.checkpoints.pickled.records import TEXT_MAX, Global, Inert
from embcompress.checkpoints.tensors import ModuleRecord, Named, Plain

GRAPH_MODEL_PARTS = ("interaction", "entity_representations", "relation_representations")  # of PyKEEN's ERModel
BUILTINS = ("builtins", "__builtin__")  # the second in pickles of protocol 2
MODULES_MAX = 1000  # told of; the largest interactions have about 30
ATTRIBUTES_MAX = 100_000  # of all of them, an item of a tuple counted as one: two bytes of pickle repeat a million
LABEL_CHARACTERS_MAX = 2**31  # of all labels of a kind: two bytes of pickle repeat a long one
TUPLES_MAX = 8  # within each other


def module_state(node: object) -> Mapping[object, object] | None:
    """Return the attributes of a pickled torch.nn.Module; None if it is not one."""
    if not isinstance(node, Inert) or node.state is None:
        return None
    parts = (node.state.get(kind) for kind in ("_parameters", "_buffers", "_modules"))
    return node.state if all(isinstance(part, dict) for part in parts) else None


def entries_of(node: object) -> Mapping[object, object] | None:
    """Return the content of a dict, or of an object of a class derived from it; None if it is neither."""
    if isinstance(node, Inert):
        return node.entries
    return node if isinstance(node, dict) else None


def tell_graph_model(model: object) -> Mapping[str, ModuleRecord]:
    """Collect what a pickled knowledge-graph model of PyKEEN says of itself, by the path of each module in it.

    The model itself is "", its interaction "interaction", its tables "entity_representations.0" and so on. Empty where
    it is another object, or one that says more than any such model.
    """
    children = _children(model)
    if not all(part in children for part in GRAPH_MODEL_PARTS):
        return {}
    budget = _Budget(ATTRIBUTES_MAX)
    records: dict[str, ModuleRecord] = {}
    try:
        records[""] = _tell(model, budget)
        pending = [(part, children[part]) for part in reversed(GRAPH_MODEL_PARTS)]
        while pending:
            path, module = pending.pop()
            if len(records) == MODULES_MAX or len(path) > TEXT_MAX:
                return {}
            records[path] = _tell(module, budget)
            pending += [(f"{path}.{name}", child) for name, child in _children(module).items()]
    except _BudgetSpentError:
        return {}
    return records


def tell_graph_labels(tree: object) -> Mapping[str, Sequence[str]]:
    """Find the labels of "entity" and "relation" that a checkpoint of LibKGE holds, in the order of their ids."""
    checkpoint = entries_of(tree) or {}
    dataset = entries_of(checkpoint.get("dataset")) or {}
    labels: dict[str, Sequence[str]] = {}
    for kind in ("entity", "relation"):
        for holder in (entries_of(dataset.get("meta")) or {}, checkpoint):
            ids = holder.get(f"{kind}_ids")
            items = ids if isinstance(ids, list) else []
            texts = [item for item in items if isinstance(item, str)]
            if texts and len(texts) == len(items) and sum(map(len, texts)) <= LABEL_CHARACTERS_MAX:
                labels.setdefault(kind, texts)
    return labels


class _BudgetSpentError(Exception):
    """More is said than is read."""


class _Budget:
    """The number of attributes that are still read."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise _BudgetSpentError


class _NotPlainError(Exception):
    """A value that is no number, text, boolean, None or tuple of these."""


def _children(module: object) -> dict[str, Inert]:
    """Find the modules directly in a module."""
    state = module_state(module)
    modules = {} if state is None else entries_of(state.get("_modules")) or {}
    return {
        name: child
        for name, child in modules.items()
        if isinstance(name, str) and isinstance(child, Inert) and module_state(child) is not None
    }


def _tell(module: object, budget: _Budget) -> ModuleRecord:
    state = module_state(module)
    assert state is not None
    assert isinstance(module, Inert)
    values: dict[str, Plain] = {}
    names: dict[str, Named] = {}
    budget.spend(len(state))
    for key, value in state.items():
        if not isinstance(key, str) or key.startswith("_") or key == "training":
            continue
        try:
            values[key] = _plain(value, budget)
        except _NotPlainError:
            names[key] = _named(value, budget)
    return ModuleRecord(module.global_name, MappingProxyType(values), MappingProxyType(names))


def _plain(value: object, budget: _Budget, depth: int = 0) -> Plain:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str) and len(value) <= TEXT_MAX:
        return value
    if isinstance(value, tuple) and depth < TUPLES_MAX:
        budget.spend(len(value))
        return tuple(_plain(item, budget, depth + 1) for item in value)
    raise _NotPlainError


def _named(value: object, budget: _Budget) -> Named:
    """Name what an attribute is: a class or function, or the class of an object; of a partial what it calls."""
    function = _function_name(value)
    if function:
        return Named(function)
    if not isinstance(value, Inert):
        return Named(f"builtins.{type(value).__name__}", None)
    called = _function_name(value.args[0]) if value.global_name == "functools.partial" and value.args else ""
    if called:
        bound = value.state or {}
        keywords = entries_of(bound.get("keywords")) or {}
        try:
            budget.spend(len(keywords))
            if bound.get("args") != ():
                raise _NotPlainError
            arguments = {key: _plain(item, budget) for key, item in keywords.items() if isinstance(key, str)}
            return Named(called, MappingProxyType(arguments))
        except _NotPlainError:
            return Named(called, None)
    return Named(value.global_name, None)


def _function_name(value: object) -> str:
    """Name a class or function, or an attribute of one, as torch.clamp is pickled; empty for anything else."""
    if isinstance(value, Global):
        return value.name
    if isinstance(value, Inert) and value.origin.qualname == "getattr" and value.origin.module in BUILTINS:
        match value.args:
            case (Global() as parent, str(name)) if len(name) <= TEXT_MAX:
                return f"{parent.name}.{name}"
    return ""
