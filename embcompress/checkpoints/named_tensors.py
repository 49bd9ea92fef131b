"""The tensors of an unpickled tree under the names that its state dict gives them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from embcompress.checkpoints.pickled_modules import entries_of, module_state, tell_graph_labels, tell_graph_model
from embcompress.checkpoints.pickles import KEY_MAX, Global, Inert, TensorReference, is_array
from embcompress.checkpoints.tensors import LeftOut, name_fault
from embcompress.checkpoints.unread import SAVE_WHOLE, converting_line, tell_arrays
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
ARRAYS = "NumPy arrays, which are not read"
UNHELD_TENSORS: Mapping[str, str] = MappingProxyType(
    {
        "_rebuild_sparse_tensor": "a sparse tensor, which safetensors cannot hold",
        "_rebuild_sparse_csr_tensor": "a sparse tensor, which safetensors cannot hold",
        "_rebuild_qtensor": "a quantized tensor, which safetensors cannot hold",
        "_rebuild_nested_tensor": "a nested tensor, which safetensors cannot hold",
        "_rebuild_meta_tensor_no_storage": "a tensor on the meta device, which has no values",
        "_rebuild_wrapper_subclass": "a tensor of a subclass that keeps its values elsewhere",
        "_rebuild_device_tensor_from_numpy": "a device's tensor, saved by copy; move it to the CPU and save again",
        "_rebuild_device_tensor_from_cpu_tensor": "a device's tensor, saved by copy; move it to the CPU and save again",
    }
)  # function of torch._utils -> why its tensors are left out
# What of torch's own makes such a tensor plain.
PLAIN_CALLS: Mapping[str, str] = MappingProxyType(
    {
        "_rebuild_sparse_tensor": "to_dense()",
        "_rebuild_sparse_csr_tensor": "to_dense()",
        "_rebuild_qtensor": "dequantize()",
    }
)
SHARDED_CLASSES = ("DTensor", "ShardedTensor")  # of torch.distributed: a file holds one worker's part


class NamedTensors:
    """The tensors of an unpickled tree, in its order, each by its name.

    Args:
        tree: what the pickle holds.
        path: what messages call the file.
        pickle_bytes: the length of the pickle, which bounds the work: names beyond it are made by shared parts.
    """

    def __init__(self, tree: object, path: str, *, pickle_bytes: int) -> None:
        self.tensors: list[tuple[str, TensorReference]] = []
        self.left_out: list[LeftOut] = []
        self.row_shapes: dict[str, tuple[int, ...]] = {}
        self._path = path
        self._taken: set[str] = set()
        self._ancestors: list[int] = []
        self._left = min(WORK_MAX, WORK_MIN + WORK_PER_BYTE * pickle_bytes)
        self._holders = self._find_holders(tree)
        self._siblings: list[tuple[str, object]] = []
        self._passed_over: list[str] = []
        model, keys = self._unwrap(tree)
        # A module is rebuilt only by running what its pickle names.
        trusted = "weights_only=False" if module_state(model) is not None else "weights_only=True"
        self.loading = f"torch.load({path!r}, {trusted}, map_location='cpu'){''.join(f'[{key!r}]' for key in keys)}"
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
        if not self.tensors and all(entry.reason in {NOT_A_TENSOR, ARRAYS} for entry in self.left_out):
            hint = _arrays_hint(tree, path)
            raise UnknownFormatError(
                f"no tensor was found in {path}: it holds {'NumPy arrays, as ' if hint else ''}{_describe(tree)}.",
                hint=hint or "Name the file of the model's weights.",
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
        if isinstance(value, TensorReference):
            fault = name_fault(name)
            if fault:
                self._leave_out(name, fault)
            elif name in self._taken:
                raise self._damaged(f"has two tensors named {name[:200]!r}")
            else:
                self._taken.add(name)
                self.tensors.append((name, value))
        elif isinstance(value, Inert) and _is_tensor(value):
            self._leave_out(name, *_why_unheld(name, value, loading=self.loading))
        elif self._is_branch(value):
            self._descend(f"{name}.", value)
        elif _has_arrays(value):
            self._leave_out(name, ARRAYS, "Make tensors of them with torch.tensor(array), and save it anew.")
        elif module_state(value) is None:
            self._leave_out(name, NOT_A_TENSOR)

    def _descend(self, prefix: str, parent: object) -> None:
        """Visit what lies in a module, dict or list, whose name is the prefix."""
        if id(parent) in self._ancestors:
            raise self._damaged(f"contains itself under {prefix[:200]!r}")
        if len(self._ancestors) == DEPTH_MAX:
            raise self._damaged(f"is nested more than {DEPTH_MAX} deep")
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

    def _find_holders(self, tree: object) -> set[int]:
        """Collect the ids of everything from which a tensor can be reached, looking into each object once."""
        parents: dict[int, list[int]] = {id(tree): []}
        pending = [tree]
        found: list[int] = []
        while pending:
            node = pending.pop()
            if _is_tensor(node):
                found.append(id(node))
                continue
            for _, child in self._children(node):
                if isinstance(child, (dict, list, tuple, Inert, TensorReference)):
                    if id(child) not in parents:
                        parents[id(child)] = []
                        pending.append(child)
                    parents[id(child)].append(id(node))
        holders: set[int] = set()
        while found:
            identity = found.pop()
            if identity not in holders:
                holders.add(identity)
                found.extend(parents[identity])
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
        return _is_sharded(node.origin) or (
            node.origin.module == "torch._utils" and node.origin.qualname in UNHELD_TENSORS
        )
    return isinstance(node, TensorReference)


def _is_floating(node: object, *, axes_min: int) -> bool:
    return isinstance(node, TensorReference) and len(node.shape) >= axes_min and "float" in node.dtype


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


def _is_sharded(origin: Global) -> bool:
    return origin.qualname in SHARDED_CLASSES and origin.module.startswith("torch.distributed.")


def _why_unheld(name: str, tensor: Inert, *, loading: str) -> tuple[str, str]:
    """Say why a tensor of torch's is left out, and how to make a plain one of it."""
    kind = next(
        (arg for arg in (tensor.origin, *tensor.args[:1]) if isinstance(arg, Global) and _is_sharded(arg)), None
    )
    if kind:
        return f"a {kind.qualname}, of which the file holds one worker's part", SAVE_WHOLE
    made = tensor.args[0] if tensor.args else None
    if isinstance(made, Global) and made.module.partition(".")[0] == "torchao":
        trusted = loading.replace("weights_only=True", "weights_only=False")
        reason = f"a quantized tensor of torchao ({made.qualname[:100]}), which is not read"
        return reason, "With torchao imported: " + converting_line(name, "%s.dequantize()", loading=trusted)
    call = PLAIN_CALLS.get(tensor.origin.qualname)
    hint = converting_line(name, f"%s.{call}", loading=loading) if call else ""
    return UNHELD_TENSORS[tensor.origin.qualname], hint


def _values_of(tree: object) -> Iterable[object]:
    return (entries_of(tree) or {}).values() or (tree if isinstance(tree, (list, tuple)) else (tree,))


def _has_arrays(tree: object) -> bool:
    """Tell whether this is NumPy arrays, or a dict or list of them, by the first."""
    return is_array(next(iter(_values_of(tree)), None))


def _arrays_hint(tree: object, path: str) -> str:
    """Give the line that makes tensors of NumPy arrays; empty where there are none."""
    if not any(map(is_array, _values_of(tree))):
        return ""
    mapping = entries_of(tree)
    lengths = {_vector_length(value) for value in _values_of(tree)}
    return tell_arrays(
        path,
        is_dict=mapping is not None,
        is_list=isinstance(tree, (list, tuple)),
        are_rows=len(lengths) == 1 and None not in lengths,
        are_ids=mapping is not None and all(isinstance(key, int) for key in mapping),
    )


def _vector_length(value: object) -> int | None:
    """Read the length of a NumPy array of one axis; None of anything else."""
    match (value.state or {}).get("shape") if isinstance(value, Inert) and is_array(value) else None:
        case (int(length),) if 0 < length <= KEY_MAX:
            return length
    return None
