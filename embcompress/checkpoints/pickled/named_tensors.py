"""The tensors of an unpickled tree under the names that its state dict gives them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from embcompress.checkpoints.pickled.arrays import (
    OBJECTS,
    Reference,
    UnreadArrayError,
    UntrueArrayError,
    is_array,
    read_array,
    reference_of,
)
from embcompress.checkpoints.pickled.modules import entries_of, module_state, tell_graph_labels, tell_graph_model
from embcompress.checkpoints.pickled.records import Inert, QuantizedReference, TensorReference
from embcompress.checkpoints.pickled.unstorable_tensors import is_unstorable, why_unstorable
from embcompress.checkpoints.pickled.vectors import TABLE_LEAF, VectorTable, find_vectors
from embcompress.checkpoints.tensors import LeftOut, name_fault
from embcompress.exceptions import DamagedFileError, UnknownFormatError

DEPTH_MAX = 64  # modules or dicts within each other; the deepest published models have about 15
# 64 per name and its characters. Shared parts let 1 kB of pickle spell 2^100 names; without them a name takes a byte of
# pickle at the very least, and a tensor 60: what is allowed for a byte lets one name every one of its bytes.
WORK_MAX = 2**28
WORK_MIN = 2**22
WORK_PER_BYTE = 2**8

WRAPPER_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "params")
# Where training scripts keep the model in a dict of other things, most telling first.
TRAINING_KEYS = (
    *("optim", "optim_state_dict", "lr_scheduler", "lr_schedulers", "lr_scheduler_state_dict", "scheduler"),
    *("scheduler_state_dict", "callbacks", "loops", "hyper_parameters", "rng_state", "rng_states"),
)  # what lies beside it and only training needs; so does every key with "optimizer" in it

# Keys beside the model that are named, and how many characters of each.
KEYS_NAMED_MAX = 12
KEY_SHOWN_MAX = 60

OWNED_WEIGHT = "_embeddings.weight"  # of a representation of PyKEEN, which tells the shape of its rows
NOT_A_TENSOR = "not a tensor"


class NamedTensors:
    """The tensors of an unpickled tree, in its order, each by its name.

    Args:
        tree: what the pickle holds.
        path: what messages call the file.
        pickle_bytes: the length of the pickle, which bounds the work: names beyond it are made by shared parts.
        loading: the expression that loads the tree, for hints; empty: torch.load does.
    """

    def __init__(self, tree: object, path: str, *, pickle_bytes: int, loading: str = "") -> None:
        self.tensors: list[tuple[str, Reference | VectorTable]] = []
        self.left_out: list[LeftOut] = []
        self.row_shapes: dict[str, tuple[int, ...]] = {}
        self._path = path
        self._taken: set[str] = set()
        self._ancestors: list[int] = []
        self._has_arrays = False
        self._left = min(WORK_MAX, WORK_MIN + WORK_PER_BYTE * pickle_bytes)
        self._holders = self._find_holders(tree)
        self._siblings: list[tuple[str, object]] = []
        self._passed_over: list[str] = []
        model, keys = self._unwrap(tree)
        # A module or an array is rebuilt only by running what the pickle names.
        is_trusted = module_state(model) is not None or self._has_arrays
        self.loading = (
            loading or f"torch.load({path!r}, weights_only={not is_trusted}, map_location='cpu')"
        ) + "".join(f"[{key!r}]" for key in keys)
        if module_state(model) is not None:
            self.loading += ".state_dict()"
        elif isinstance(model, (list, tuple)):
            self.loading = f"dict(enumerate({self.loading}))"
        entries = entries_of(model) or {}
        self.is_flat = module_state(model) is not None or (
            bool(entries) and all(isinstance(key, str) and not self._is_branch(value) for key, value in entries.items())
        )
        self.graph_model = tell_graph_model(model)
        self.graph_labels = tell_graph_labels(tree)
        if _is_tensor(model):
            self._visit("tensor", model)
        else:
            self._descend("", model)
        for key, value in self._siblings:
            self._visit_sibling(key, value)
        if not self.tensors and all(entry.reason == NOT_A_TENSOR for entry in self.left_out):
            raise UnknownFormatError(
                f"no tensor was found in {path}: it holds {_describe(tree)}.",
                hint="Name the file of the model's weights.",
            )
        if self._passed_over:
            self._leave_out(", ".join(self._passed_over), "beside the model, and not carried along")

    def _unwrap(self, tree: object) -> tuple[object, list[str | int]]:
        """Find the model within a training checkpoint, and the keys that lead to it; note what lies beside it.

        Other tensors keep their names: an OpenNMT model, for one, lies under 'model' and 'generator'.
        """
        keys: list[str | int] = []
        for _ in range(DEPTH_MAX):
            mapping = entries_of(tree) or {}
            wrappers = [key for key in WRAPPER_KEYS if self._is_branch(mapping.get(key))]
            others = {
                key: value
                for key, value in mapping.items()
                if isinstance(key, str) and not _is_training_state(key) and id(value) in self._holders
            }
            # A matrix of floats beside a wrapper is a parameter of the model: then the wrapper is a part of it.
            # Tensors of integers are states of the training, such as that of a random generator.
            if not wrappers or any(_is_floating(value, axes_min=2) for value in others.values()):
                break
            tree = mapping[wrappers[0]]
            keys.append(wrappers[0])
            for key, value in mapping.items():
                if value is tree or not isinstance(key, str):
                    continue
                if key in others and (self._is_branch(value) or _is_floating(value, axes_min=0)):
                    self._siblings.append((key, value))
                else:
                    self._pass_over(key)
            # LibKGE has a pair there: the state dict, and what the model notes of itself.
            if isinstance(tree, tuple) and len(tree) == 2 and list(map(self._is_branch, tree)) == [True, False]:
                tree = tree[0]
                keys.append(0)
        return tree, keys

    def _pass_over(self, key: str) -> None:
        """Note what only training needs, and values that are no tensors beside a model: named once, all together."""
        if len(self._passed_over) < KEYS_NAMED_MAX:
            self._passed_over.append(key[:KEY_SHOWN_MAX])

    def _visit_sibling(self, key: str, value: object) -> None:
        """Visit what lies beside the model, under its own key, where the model leaves that free."""
        if any(name == key or name.startswith(f"{key}.") for name in self._taken):
            self._leave_out(key, "the model has tensors of that name")
        else:
            self._visit(key, value)

    def _is_branch(self, value: object) -> bool:
        return id(value) in self._holders and not _is_tensor(value)

    def _visit(self, name: str, value: object) -> None:
        self._spend(len(name) + 64)
        reference = reference_of(value)
        if reference is not None:
            self._add(name, reference)
        elif isinstance(value, Inert) and is_array(value):
            self._leave_out_array(name, value)
        elif isinstance(value, Inert) and _is_tensor(value):
            self._leave_out(name, *why_unstorable(name, value, loading=self.loading))
        elif self._is_branch(value):
            self._descend(f"{name}.", value)
        elif module_state(value) is None:
            self._leave_out(name, NOT_A_TENSOR)

    def _add(self, name: str, value: Reference | VectorTable) -> None:
        fault = name_fault(name)
        if fault:
            self._leave_out(name, fault)
        elif name in self._taken:
            raise self._damaged(f"has two tensors named {name[:200]!r}")
        else:
            self._taken.add(name)
            self.tensors.append((name, value))

    def _descend(self, prefix: str, parent: object) -> None:
        """Visit what lies in a module, dict or list, whose name is the prefix."""
        if id(parent) in self._ancestors:
            raise self._damaged(f"contains itself under {prefix[:200]!r}")
        if len(self._ancestors) == DEPTH_MAX:
            raise self._damaged(f"is nested more than {DEPTH_MAX} deep")
        table = find_vectors(parent)
        if table is not None:
            self._spend(8 * len(table.rows))
            self._add(f"{prefix}{TABLE_LEAF}", table)
            self.is_flat = False
            return
        self._ancestors.append(id(parent))
        shape = (module_state(parent) or {}).get("shape")
        if isinstance(shape, tuple) and all(type(size) is int and size > 0 for size in shape):
            self.row_shapes[f"{prefix}{OWNED_WEIGHT}"] = shape
        for key, value in self._children(parent):
            if not isinstance(key, (str, int)):
                self._leave_out(f"{prefix}<a key that is not text>", "its name is not text, or too long")
            elif prefix or _is_tensor(value) or not _is_training_state(str(key)):
                self._visit(f"{prefix}{key}", value)
            else:
                self._pass_over(str(key))
        self._ancestors.pop()

    def _leave_out(self, name: str, reason: str, hint: str = "") -> None:
        # Lone surrogates cannot be written to a terminal or a report, and NUL should not be.
        printable = name.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
        self.left_out.append(LeftOut(printable, reason, hint))

    def _leave_out_array(self, name: str, array: Inert) -> None:
        try:
            read_array(array)
        except UntrueArrayError as err:
            raise self._damaged(f"has under {name[:200]!r} {err}") from err
        except UnreadArrayError as err:
            hint = "Load the file where you trust it, make numbers of it, and save it again."
            self._leave_out(name, str(err), hint if str(err) == OBJECTS else "")

    def _find_holders(self, tree: object) -> set[int]:
        """Collect the ids of everything from which a tensor can be reached, looking into each object once."""
        parents: dict[int, list[int]] = {id(tree): []}
        pending = [tree]
        tensor_ids: list[int] = []
        while pending:
            node = pending.pop()
            if _is_tensor(node):
                self._has_arrays |= is_array(node)
                tensor_ids.append(id(node))
                continue
            for _, child in self._children(node):
                if isinstance(child, (dict, list, tuple, Inert, TensorReference, QuantizedReference)):
                    if id(child) not in parents:
                        parents[id(child)] = []
                        pending.append(child)
                    parents[id(child)].append(id(node))
        holders: set[int] = set()
        while tensor_ids:
            identity = tensor_ids.pop()
            if identity not in holders:
                holders.add(identity)
                tensor_ids.extend(parents[identity])
        return holders

    def _children(self, node: object) -> Iterator[tuple[object, object]]:
        """Yield what lies directly in a module, dict or list, in the order of a state dict."""
        state = module_state(node)
        mapping = entries_of(node)
        if state is not None:
            yield from self._module_children(state)
        elif mapping is not None:
            # An optimizer's state_dict, wherever it lies, is no part of a model.
            if not {"state", "param_groups"} <= mapping.keys():
                self._spend(8 * len(mapping))
                yield from mapping.items()
        elif isinstance(node, (list, tuple)):
            self._spend(8 * len(node))
            yield from enumerate(node)

    def _module_children(self, state: Mapping[object, object]) -> Iterator[tuple[object, object]]:
        skipped: set[str] = set()
        names = state.get("_non_persistent_buffers_set")
        # A pickle writes a set as set(list), or as an empty one and its items.
        for part in (names.items, *names.args[:1]) if isinstance(names, Inert) else ():
            if isinstance(part, list):
                self._spend(8 * len(part))
                skipped.update(item for item in part if isinstance(item, str))
        for kind in ("_parameters", "_buffers", "_modules"):
            entries = entries_of(state.get(kind)) or {}
            self._spend(8 * len(entries))
            for key, value in entries.items():
                if value is not None and not (kind == "_buffers" and key in skipped):
                    yield key, value

    def _spend(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise self._damaged("names its tensors in more ways than can be listed")

    def _damaged(self, what: str) -> DamagedFileError:
        return DamagedFileError(f"{self._path} {what}.", hint="Save the model's state_dict() anew with torch.save.")


def _is_tensor(node: object) -> bool:
    if isinstance(node, Inert):
        return is_array(node) or is_unstorable(node)
    return isinstance(node, (TensorReference, QuantizedReference))


def _is_floating(node: object, *, axes_min: int) -> bool:
    reference = reference_of(node)
    return reference is not None and len(reference.shape) >= axes_min and "float" in reference.dtype


def _is_training_state(key: str) -> bool:
    return "optimizer" in key or key in TRAINING_KEYS


def _describe(tree: object) -> str:
    mapping = entries_of(tree)
    if mapping is None:
        if isinstance(tree, Inert):
            return f"an object of class {tree.global_name[:200]}"
        return f"a value of type {type(tree).__name__}"
    keys = [repr(key)[:40] for key in itertools.islice(mapping, 12) if isinstance(key, str)]
    return f"a dict of {len(mapping)} entries ({', '.join(keys)})" if keys else f"a dict of {len(mapping)} entries"
