"""Records of what the functions that torch's pickles call would have made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from embcompress.checkpoints.pickled.records import Global, Inert, QuantizedReference, StorageReference, TensorReference
from embcompress.checkpoints.tensors import is_size, is_sizes


class MalformedError(ValueError):
    """Contents of a pickle that cannot be, in words that follow "its pickle ..."."""


def _make_tensor(args: tuple[object, ...], dtype: str | None, metadata: object) -> TensorReference:
    match args:
        case (StorageReference() as storage, int(offset), tuple(shape), tuple(strides)) if (
            is_size(offset) and is_sizes(shape) and is_sizes(strides) and len(shape) == len(strides)
        ):
            dtype = dtype or storage.dtype
            if dtype is None:
                raise MalformedError("has a tensor without a dtype")
            # torch keeps conj() and the imaginary part's minus sign as flags, the storage holds the other values.
            pending = tuple(flag for flag in ("conj", "neg") if type(metadata) is dict and metadata.get(flag))
            return TensorReference(storage, offset, shape, strides, dtype, pending)
    raise MalformedError("has a tensor whose storage, offset, shape and strides do not fit together")


def _rebuild_tensor(args: tuple[object, ...]) -> object:
    return _make_tensor(args, None, None)


def _rebuild_tensor_v2(args: tuple[object, ...]) -> object:
    return _make_tensor(args[:4], None, args[6] if len(args) > 6 else None)


def _rebuild_tensor_v3(args: tuple[object, ...]) -> object:
    match args[6:8]:
        case (Global("torch", dtype), *metadata):
            return _make_tensor(args[:4], dtype, metadata[0] if metadata else None)
    raise MalformedError("has a tensor without a dtype")


def _rebuild_qtensor(args: tuple[object, ...]) -> object:
    tensor = _make_tensor(args[:4], None, None)
    bits = _QUANTIZED_BITS.get(tensor.dtype, 0)
    codes = _as_codes(tensor)
    match args[4:5]:
        case ((Global(qualname="per_tensor_affine"), float(scale), int(zero)),) if bits:
            return QuantizedReference(codes, bits, scale, zero)
        case ((Global(qualname=kind), TensorReference() as scales, TensorReference() as zeros, int(axis)),) if bits:
            if kind.startswith("per_channel_affine") and 0 <= axis < len(codes.shape):
                return QuantizedReference(codes, bits, scales, zeros, axis)
    return Inert(Global("torch._utils", "_rebuild_qtensor"), args)


def _as_codes(tensor: TensorReference) -> TensorReference:
    """View quantized numbers as the integers that are stored."""
    storage, dtype = tensor.storage, CODE_DTYPES.get(tensor.dtype, tensor.dtype)
    integers = StorageReference(storage.key, dtype, storage.numel, storage.location, storage.offset)
    return TensorReference(integers, tensor.offset, tensor.shape, tensor.strides, dtype)


def _rebuild_parameter(args: tuple[object, ...]) -> object:
    if not args or not isinstance(args[0], (TensorReference, QuantizedReference, Inert)):
        raise MalformedError("has a parameter that is not a tensor")
    return args[0]


def _rebuild_from_type(args: tuple[object, ...]) -> object:
    # (function, type, its arguments, attributes): a tensor with attributes, or of a subclass, is read as the tensor.
    match args:
        case (Global() as function, _, tuple(inner), *_):
            rebuild = _TENSOR_REBUILDERS.get((function.module, function.qualname))
            return Inert(function, inner) if rebuild is None else rebuild(inner)
    raise MalformedError("has a tensor of a subclass that does not say how it is made")


def _rebuild_ordered_dict(args: tuple[object, ...]) -> object:
    return Inert(Global("collections", "OrderedDict"), args) if args else {}


def _rebuild_size(args: tuple[object, ...]) -> object:
    if args and type(args[0]) is not tuple:
        raise MalformedError("has a torch.Size that is not a tuple")
    return args[0] if args else ()


_Rebuild = Callable[[tuple[object, ...]], object]
_TENSOR_REBUILDERS: Mapping[tuple[str, str], _Rebuild] = MappingProxyType(
    {
        ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
        ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
        ("torch._utils", "_rebuild_qtensor"): _rebuild_qtensor,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    }
)
REBUILDERS: Mapping[tuple[str, str], _Rebuild] = MappingProxyType(
    {
        **_TENSOR_REBUILDERS,
        ("torch._tensor", "_rebuild_from_type"): _rebuild_from_type,  # torch 1.7 to 1.10
        ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
        ("torch", "Size"): _rebuild_size,
        ("collections", "OrderedDict"): _rebuild_ordered_dict,
    }
)  # everything that a pickle can have called, and all of it is ours

_QUANTIZED_BITS: Mapping[str, int] = MappingProxyType({"qint8": 8, "quint8": 8, "quint4x2": 4})
# The integers that quantized dtypes are stored as; of quint4x2 two codes in each.
CODE_DTYPES: Mapping[str, str] = MappingProxyType(
    {"qint8": "int8", "quint8": "uint8", "qint32": "int32", "quint4x2": "uint8", "quint2x4": "uint8"}
)
STORAGE_MODULES = ("torch", "torch.storage")
STORAGE_DTYPES: Mapping[str, str | None] = MappingProxyType(
    {
        "FloatStorage": "float32",
        "DoubleStorage": "float64",
        "HalfStorage": "float16",
        "BFloat16Storage": "bfloat16",
        "ByteStorage": "uint8",
        "CharStorage": "int8",
        "ShortStorage": "int16",
        "IntStorage": "int32",
        "LongStorage": "int64",
        "BoolStorage": "bool",
        "ComplexFloatStorage": "complex64",
        "ComplexDoubleStorage": "complex128",
        "QInt8Storage": "qint8",
        "QUInt8Storage": "quint8",
        "QInt32Storage": "qint32",
        "QUInt4x2Storage": "quint4x2",
        "QUInt2x4Storage": "quint2x4",
        "UntypedStorage": None,
    }
)
