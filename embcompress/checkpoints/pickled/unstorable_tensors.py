"""Tensors that no safetensors file can hold: how a pickle makes them, why they are left out, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from embcompress.checkpoints.pickled.records import Global, Inert
from embcompress.checkpoints.unread import SAVE_WHOLE, converting_line

UNSTORABLE_TENSORS: Mapping[str, str] = MappingProxyType(
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


def is_unstorable(node: Inert) -> bool:
    """Tell whether this stands in for such a tensor."""
    return is_sharded(node.origin) or (
        node.origin.module == "torch._utils" and node.origin.qualname in UNSTORABLE_TENSORS
    )


def is_sharded(origin: Global) -> bool:
    """Tell whether a class is one of tensors of which a file holds a part."""
    return origin.qualname in SHARDED_CLASSES and origin.module.startswith("torch.distributed.")


def why_unstorable(name: str, tensor: Inert, *, loading: str) -> tuple[str, str]:
    """Say why a tensor of torch's is left out, and how to make a plain one of it."""
    kind = next((arg for arg in (tensor.origin, *tensor.args[:1]) if isinstance(arg, Global) and is_sharded(arg)), None)
    if kind:
        return f"a {kind.qualname}, of which the file holds one worker's part", SAVE_WHOLE
    made = tensor.args[0] if tensor.args else None
    if isinstance(made, Global) and made.module.partition(".")[0] == "torchao":
        trusted = loading.replace("weights_only=True", "weights_only=False")
        reason = f"a quantized tensor of torchao ({made.qualname[:100]}), which is not read"
        return reason, "With torchao imported: " + converting_line(name, "%s.dequantize()", loading=trusted)
    call = PLAIN_CALLS.get(tensor.origin.qualname)
    hint = converting_line(name, f"%s.{call}", loading=loading) if call else ""
    return UNSTORABLE_TENSORS[tensor.origin.qualname], hint
