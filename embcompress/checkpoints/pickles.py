"""The one reader of pickles: builds inert records, imports nothing and calls nothing that a file names.

The opcodes are parsed by the standard library's `pickletools.genops`, which only decodes their arguments; what they do
is written out below. Nothing of pickle's own Unpickler is inherited: its C form reserves tens of gigabytes for one
large memo index, and in both forms an opcode that is new or was overlooked would call what the file says.

What a pickle can be made into: None, bool, int, float, str, bytes, bytearray, tuple, list, dict, and the records below.
Three rules keep hostile pickles cheap: only short things are compared or hashed (`OpaqueKey`), nothing that is already
on the stack is ever copied (two bytes of a pickle can name a list of a million entries again), and opcodes are counted.
"""

from __future__ import annotations

import pickletools
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from embcompress.exceptions import DamagedFileError, UnknownFormatError

# Of up to 150 bytes of memory each; a state dict takes about 40 per tensor, a vocabulary of list and dict 8 a word: the
# 2.2 million words of GloVe's largest table must pass.
OPCODES_MAX = 2**25
DIMS_MAX = 64  # axes of a tensor, numpy's limit; torch's operations stop at the same number
INTEGER_MAX = 2**63 - 1  # sizes, strides and offsets are int64 in torch
KEY_MAX = 2**31  # larger integers can be chosen so that all of them collide in a dict
TEXT_MAX = 4096  # characters of a key or a class's name; two equal ones are compared again in three bytes of pickle


@dataclass(frozen=True, eq=False, slots=True)
class Global:
    """A class or function that the pickle names: its name, never the thing itself."""

    module: str
    qualname: str

    @property
    def name(self) -> str:
        """Join the module and the name within it."""
        return f"{self.module}.{self.qualname}"


@dataclass(eq=False, slots=True, repr=False)
class Inert:
    """What stands in for an object of a class that is not built: what the pickle says of it, unused.

    Attributes:
        origin: the class, or the function that would have made it.
        args: arguments it would have been called with.
        items: what was appended or added to it, as to a list or a set; None if nothing was.
        entries: what was set in it by key, as in a dict; None if nothing was.
        state: what its attributes would be; None if the pickle does not give them as a mapping.
    """

    origin: Global
    args: tuple[object, ...]
    items: list[object] | None = None
    entries: dict[object, object] | None = None
    state: Mapping[object, object] | None = None

    @property
    def global_name(self) -> str:
        """Name the class or function, with its module."""
        return self.origin.name

    def __repr__(self) -> str:  # the contents may contain the object itself, or be 10^12 lines long
        return f"<Inert {self.global_name[:200]!r}>"


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class OpaqueKey:
    """A dict key that is kept apart by identity, because hashing or comparing it could take for ever.

    Nested tuples that share their parts have 2^depth leaves, and integers can be chosen to collide.
    """

    value: object


@dataclass(frozen=True, eq=False, slots=True)
class StorageReference:
    """Memory that lies outside the pickle.

    Attributes:
        key: its name within the file.
        dtype: torch's name of the elements' dtype; None for bytes without one.
        numel: elements, or bytes where there is no dtype.
        location: the device it was saved from, such as "cpu" or "cuda:0".
    """

    key: str
    dtype: str | None
    numel: int
    location: str


@dataclass(frozen=True, eq=False, slots=True)
class TensorReference:
    """A tensor as a view of a storage; nothing says yet that it lies inside.

    Attributes:
        storage: the memory it is a view of.
        offset: its first element, counted in elements from the start of the storage.
        shape: sizes of the axes.
        strides: step of each axis, in elements.
        dtype: torch's name of the dtype.
        pending: "conj", "neg" or both, if reading it as it lies would give the wrong values; empty otherwise.
    """

    storage: StorageReference
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    pending: tuple[str, ...] = ()


class _LimitError(ValueError):
    """The pickle is larger than what is read, and may be sound."""


class _MalformedError(ValueError):
    """What the pickle says cannot be, in words that follow "its pickle ..."."""


def read_pickle(content: bytes, *, name: str) -> object:
    """Read one pickle without running any of it.

    Holds the pickle and at most some 150 bytes per opcode. Does not copy, import or call what the pickle names.

    Args:
        content: the pickle; bytes after its end are ignored.
        name: what messages call it, for example the path.

    Raises:
        DamagedFileError: it is cut short, is no pickle, or does what no pickle of plain data or torch tensors does.
        UnknownFormatError: it has more than OPCODES_MAX opcodes.
    """
    try:
        return _Machine().run(content)
    except _LimitError as err:
        raise UnknownFormatError(
            f"{name} holds a pickle of more than {OPCODES_MAX} opcodes, the most that are read.",
            hint="Save the model's state_dict() alone with torch.save.",
        ) from err
    # ValueError: genops on any bytes that are not a pickle, and _MalformedError. IndexError: the stack or the marks are
    # used up. KeyError: no such memo. Warning: a bad escape in a STRING, where the caller made warnings errors.
    except (ValueError, IndexError, KeyError, Warning) as err:
        reason = str(err) if isinstance(err, _MalformedError) else f"cannot be decoded ({type(err).__name__}: {err})"
        raise DamagedFileError(
            f"{name} is damaged or cut short: its pickle {reason[:300]}.",
            hint="Copy or download it again, or save the model's state_dict() anew with torch.save.",
        ) from err


class _Machine:
    """The stack, the marked stacks below it, and the memo: all the state that a pickle has."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self.marked: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self.globals: dict[tuple[str, str], Global] = {}

    def run(self, content: bytes) -> object:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            handler = _HANDLERS.get(opcode.name)
            if handler is None:
                raise _MalformedError(f"uses the opcode {opcode.name}, which is not read")
            if count == OPCODES_MAX:
                raise _LimitError
            handler(self, argument)
        return self.stack.pop()

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop_mark(self) -> list[object]:
        items = self.stack
        self.stack = self.marked.pop()
        return items

    def mark(self, _: None) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def pop(self, _: None) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def push_marked(self, make: Callable[[list[object]], object]) -> None:
        items = self.pop_mark()
        self.push(make(items))

    def push_tuple(self, size: int) -> None:
        if len(self.stack) < size:
            raise IndexError("stack underflow")
        items = tuple(self.stack[-size:])
        del self.stack[-size:]
        self.push(items)

    def push_dict(self, _: None) -> None:
        items = self.pop_mark()
        self.push({})
        self.set_items(items)

    def push_set(self, items: list[object]) -> None:
        # A list will do for what is asked of it, and hashing the items could take for ever.
        self.push(Inert(self.find_global("builtins", "set"), (), items=items))

    def append_items(self, items: list[object]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            if target.items is None:
                target.items = []
            target.items.extend(items)
        elif type(target) is list:
            target.extend(items)
        else:
            raise _MalformedError(f"appends to {_kind(target)}")

    def set_items(self, items: list[object]) -> None:
        target = self.stack[-1]
        if len(items) % 2:
            raise _MalformedError("has a key without a value")
        if isinstance(target, Inert):
            if target.entries is None:
                target.entries = {}
            target = target.entries
        if type(target) is not dict:
            raise _MalformedError(f"sets entries of {_kind(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            is_text = type(key) is str and len(key) <= TEXT_MAX
            is_number = type(key) is int and -KEY_MAX <= key < KEY_MAX
            target[key if is_text or is_number else OpaqueKey(key)] = value

    def put(self, index: int) -> None:
        if not 0 <= index < 2 * KEY_MAX:
            raise _MalformedError("uses a memo index beyond 32 bits")
        self.memo[index] = self.stack[-1]

    def find_global(self, module: str, qualname: str) -> Global:
        if len(module) + len(qualname) > TEXT_MAX:
            raise _MalformedError(f"names a class in more than {TEXT_MAX} characters")
        # One record per name: a name is repeated in two bytes.
        return self.globals.setdefault((module, qualname), Global(module, qualname))

    def push_global(self, argument: str) -> None:
        module, _, qualname = argument.partition(" ")
        self.push(self.find_global(module, qualname))

    def push_stack_global(self, _: None) -> None:
        qualname, module = self.stack.pop(), self.stack.pop()
        if type(module) is not str or type(qualname) is not str:
            raise _MalformedError("names a class by something that is not text")
        self.push(self.find_global(module, qualname))

    def call(self, function: object, args: object) -> None:
        """Push what stands for the result; only the functions of _REBUILDERS, which are ours, are really called."""
        if type(args) is not tuple:
            raise _MalformedError(f"calls with {_kind(args)} instead of a tuple of arguments")
        if isinstance(function, Global):
            rebuild = _REBUILDERS.get((function.module, function.qualname))
            self.push(Inert(function, args) if rebuild is None else rebuild(args))
        elif isinstance(function, Inert):  # of a getattr or a functools.partial
            self.push(Inert(function.origin, args))
        else:
            raise _MalformedError(f"calls {_kind(function)}")

    def reduce(self, _: None) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        self.call(function, args)

    def instantiate(self, items: list[object]) -> None:
        self.call(items[0], tuple(items[1:]))

    def instantiate_by_name(self, argument: str) -> None:
        items = self.pop_mark()
        self.push_global(argument)
        self.instantiate([self.stack.pop(), *items])

    def instantiate_with_keywords(self, _: None) -> None:
        self.stack.pop()
        self.reduce(None)

    def build(self, _: None) -> None:
        """Note the state of a stand-in by reference; attributes of anything else have no meaning here."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Inert):
            parts = state if type(state) is tuple and len(state) == 2 else (state,)  # attributes, then those in slots
            if target.global_name == "functools.partial" and type(state) is tuple and len(state) == 4:
                parts = ({"args": state[1], "keywords": state[2]},)  # beside the function and its attributes
            elif is_array(target) and type(state) is tuple and len(state) == 5:
                parts = ({"shape": state[1]},)  # beside the version, the dtype, the order and the bytes
            mappings = [part for part in parts if type(part) is dict]
            if mappings:
                target.state = mappings[0] if len(mappings) == 1 else ChainMap(*reversed(mappings))
        # Of an OrderedDict they are a state_dict's _metadata, the versions of its modules.
        elif type(target) is not dict:
            raise _MalformedError(f"sets attributes of {_kind(target)}")

    def load_persistent(self, _: None) -> None:
        match self.stack.pop():
            case ("storage", Global() as kind, str(key), str(location), int(numel)) if _is_size(numel):
                is_known = kind.module in _STORAGE_MODULES and kind.qualname in _STORAGE_DTYPES
                self.push(
                    StorageReference(key, _STORAGE_DTYPES[kind.qualname] if is_known else kind.name, numel, location)
                )
            case _:
                raise _MalformedError("refers to something outside of it that is not a storage")


def is_array(value: object) -> bool:
    """Tell whether this stands in for a NumPy array."""
    if not isinstance(value, Inert) or value.origin.module.partition(".")[0] != "numpy":
        return False
    return value.origin.qualname in {"_reconstruct", "_frombuffer", "ndarray"}


def _kind(value: object) -> str:
    if isinstance(value, (Global, Inert)):
        return f"the stand-in {(value if isinstance(value, Global) else value.origin).name[:100]!r}"
    return f"a value of type {type(value).__name__}"


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value <= INTEGER_MAX


def _is_sizes(value: object) -> bool:
    return type(value) is tuple and len(value) <= DIMS_MAX and all(_is_size(item) for item in value)


def _make_tensor(args: tuple[object, ...], dtype: str | None, metadata: object) -> TensorReference:
    match args:
        case (StorageReference() as storage, int(offset), tuple(shape), tuple(strides)) if (
            _is_size(offset) and _is_sizes(shape) and _is_sizes(strides) and len(shape) == len(strides)
        ):
            dtype = dtype or storage.dtype
            if dtype is None:
                raise _MalformedError("has a tensor without a dtype")
            # torch keeps conj() and the imaginary part's minus sign as flags, the storage holds the other values.
            pending = tuple(flag for flag in ("conj", "neg") if type(metadata) is dict and metadata.get(flag))
            return TensorReference(storage, offset, shape, strides, dtype, pending)
    raise _MalformedError("has a tensor whose storage, offset, shape and strides do not fit together")


def _rebuild_tensor(args: tuple[object, ...]) -> object:
    return _make_tensor(args, None, None)


def _rebuild_tensor_v2(args: tuple[object, ...]) -> object:
    return _make_tensor(args[:4], None, args[6] if len(args) > 6 else None)


def _rebuild_tensor_v3(args: tuple[object, ...]) -> object:
    match args[6:8]:
        case (Global("torch", dtype), *metadata):
            return _make_tensor(args[:4], dtype, metadata[0] if metadata else None)
    raise _MalformedError("has a tensor without a dtype")


def _rebuild_parameter(args: tuple[object, ...]) -> object:
    if not args or not isinstance(args[0], (TensorReference, Inert)):
        raise _MalformedError("has a parameter that is not a tensor")
    return args[0]


def _rebuild_from_type(args: tuple[object, ...]) -> object:
    # (function, type, its arguments, attributes): a tensor with attributes, or of a subclass, is read as the tensor.
    match args:
        case (Global() as function, _, tuple(inner), *_):
            rebuild = _TENSOR_REBUILDERS.get((function.module, function.qualname))
            return Inert(function, inner) if rebuild is None else rebuild(inner)
    raise _MalformedError("has a tensor of a subclass that does not say how it is made")


def _rebuild_ordered_dict(args: tuple[object, ...]) -> object:
    return Inert(Global("collections", "OrderedDict"), args) if args else {}


def _rebuild_size(args: tuple[object, ...]) -> object:
    if args and type(args[0]) is not tuple:
        raise _MalformedError("has a torch.Size that is not a tuple")
    return args[0] if args else ()


_Rebuild = Callable[[tuple[object, ...]], object]
_TENSOR_REBUILDERS: Mapping[tuple[str, str], _Rebuild] = MappingProxyType(
    {
        ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
        ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    }
)
_REBUILDERS: Mapping[tuple[str, str], _Rebuild] = MappingProxyType(
    {
        **_TENSOR_REBUILDERS,
        ("torch._tensor", "_rebuild_from_type"): _rebuild_from_type,  # torch 1.7 to 1.10
        ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
        ("torch", "Size"): _rebuild_size,
        ("collections", "OrderedDict"): _rebuild_ordered_dict,
    }
)  # everything that a pickle can have called, and all of it is ours

_STORAGE_MODULES = ("torch", "torch.storage")
_STORAGE_DTYPES: Mapping[str, str | None] = MappingProxyType(
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
        "UntypedStorage": None,
    }
)

_PUSHED_ARGUMENTS = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
)
_HANDLERS: Mapping[str, Callable[[_Machine, Any], object]] = MappingProxyType(
    {
        **dict.fromkeys(_PUSHED_ARGUMENTS, _Machine.push),
        # Opcodes about the stream itself; a frame's length only helps to read ahead.
        **dict.fromkeys(("PROTO", "FRAME", "STOP", "READONLY_BUFFER"), lambda _machine, _argument: None),
        "NONE": _Machine.push,  # its argument is None
        "NEWTRUE": lambda machine, _: machine.push(True),
        "NEWFALSE": lambda machine, _: machine.push(False),
        "EMPTY_TUPLE": lambda machine, _: machine.push(()),
        "EMPTY_LIST": lambda machine, _: machine.push([]),
        "EMPTY_DICT": lambda machine, _: machine.push({}),
        "EMPTY_SET": lambda machine, _: machine.push_set([]),
        "MARK": _Machine.mark,
        "POP": _Machine.pop,
        "POP_MARK": lambda machine, _: machine.pop_mark(),
        "DUP": lambda machine, _: machine.push(machine.stack[-1]),
        "TUPLE1": lambda machine, _: machine.push_tuple(1),
        "TUPLE2": lambda machine, _: machine.push_tuple(2),
        "TUPLE3": lambda machine, _: machine.push_tuple(3),
        "TUPLE": lambda machine, _: machine.push_marked(tuple),
        "LIST": lambda machine, _: machine.push_marked(list),
        "DICT": _Machine.push_dict,
        "FROZENSET": lambda machine, _: machine.push_set(machine.pop_mark()),
        "APPEND": lambda machine, _: machine.append_items([machine.stack.pop()]),
        "APPENDS": lambda machine, _: machine.append_items(machine.pop_mark()),
        "ADDITEMS": lambda machine, _: machine.append_items(machine.pop_mark()),
        "SETITEM": lambda machine, _: machine.set_items([machine.stack.pop(), machine.stack.pop()][::-1]),
        "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
        **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, index: machine.push(machine.memo[index])),
        **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
        "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
        "GLOBAL": _Machine.push_global,
        "STACK_GLOBAL": _Machine.push_stack_global,
        "REDUCE": _Machine.reduce,
        "NEWOBJ": _Machine.reduce,  # its operands are those of REDUCE
        "NEWOBJ_EX": _Machine.instantiate_with_keywords,
        "OBJ": lambda machine, _: machine.instantiate(machine.pop_mark()),
        "INST": _Machine.instantiate_by_name,
        "BUILD": _Machine.build,
        "BINPERSID": _Machine.load_persistent,
    }
)  # what each opcode does; those that are missing are refused: EXT1, EXT2, EXT4, PERSID, NEXT_BUFFER
