"""The one reader of pickles: builds inert records, imports nothing and calls nothing that a file names.

The opcodes are those of the standard library's `pickletools`, which decodes their arguments; what they do is written
out below. Nothing of pickle's own Unpickler is inherited: its C form reserves tens of gigabytes for one large memo
index, and in both forms an opcode that is new or was overlooked would call what the file says.

What a pickle can be made into: None, bool, int, float, str, tuple, list, dict, and `records`; of bytes and of long
texts only the place. Three rules keep hostile pickles cheap: only short things are compared or hashed (`OpaqueKey`),
nothing that is already on the stack is ever copied (two bytes of a pickle can name a list of a million entries again),
and opcodes are counted.
"""

from __future__ import annotations

import io
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, BinaryIO

from embcompress.checkpoints.pickled.joblib_arrays import WRAPPER, ObjectArrayError, skip_array
from embcompress.checkpoints.pickled.opcodes import LimitedLines, read_operations
from embcompress.checkpoints.pickled.rebuilds import REBUILDERS, STORAGE_DTYPES, STORAGE_MODULES, MalformedError
from embcompress.checkpoints.pickled.records import TEXT_MAX, Global, Inert, OpaqueKey, StorageReference
from embcompress.checkpoints.tensors import is_size
from embcompress.exceptions import DamagedFileError, UnknownFormatError

# Of up to 150 bytes of memory each; a state dict takes about 40 per tensor, a vocabulary of list and dict 8 a word: the
# 2.2 million words of GloVe's largest table must pass.
OPCODES_MAX = 2**25
KEY_MAX = 2**31  # larger integers can be chosen so that all of them collide in a dict

LoadStorage = Callable[[object], StorageReference]


class _LimitError(ValueError):
    """The pickle is larger than what is read, and may be sound."""


@dataclass(frozen=True)
class Unpickled:
    """The contents of one pickle.

    Attributes:
        value: its root.
        storages: the memory outside of it that it refers to, by the first reference to each key.
    """

    value: object
    storages: Mapping[str, StorageReference]


class PickleStream:
    """Pickles that follow each other, read from a file as they are asked for.

    Args:
        file: that holds them, and in which places are counted: of a larger one a FileRegion.
        name: what messages call it, for example the path.
        nbytes: up to where they may reach.
    """

    def __init__(self, file: io.RawIOBase | io.BytesIO, *, name: str, nbytes: int) -> None:
        self._stream: BinaryIO = LimitedLines(file)
        self._name, self._nbytes = name, nbytes

    @property
    def position(self) -> int:
        """The position behind what was read."""
        return self._stream.tell()

    def read(self, load_storage: LoadStorage | None = None) -> Unpickled:
        """Read the next pickle, as `read_pickle`; the places in it are counted from the start of the stream.

        Args:
            load_storage: what to make of the bytes of a storage that was pickled by itself. Given for pickles outside
                of torch's files, where arrays of joblib are looked for too.
        """
        return _unpickle(self._stream, self._nbytes, name=self._name, load_storage=load_storage)


def read_pickle(content: bytes, *, name: str) -> object:
    """Read one pickle without running any of it.

    Holds at most some 150 bytes per opcode. Does not copy, import or call what the pickle names.

    Args:
        content: the pickle; bytes after its end are ignored.
        name: what messages call it, for example the path.

    Raises:
        DamagedFileError: it is cut short, is no pickle, or does what no pickle of plain data or torch tensors does.
        UnknownFormatError: it has more than OPCODES_MAX opcodes.
    """
    return _unpickle(io.BytesIO(content), len(content), name=name, load_storage=None).value


def _unpickle(stream: BinaryIO, end: int, *, name: str, load_storage: LoadStorage | None) -> Unpickled:
    machine = _Machine(load_storage)
    try:
        return Unpickled(machine.run(stream, end), machine.storages)
    except _LimitError as err:
        raise UnknownFormatError(
            f"{name} holds a pickle of more than {OPCODES_MAX} opcodes, the most that are read.",
            hint="Save the model's state_dict() alone with torch.save.",
        ) from err
    except ObjectArrayError as err:
        raise UnknownFormatError(
            f"{name} holds an array of Python objects, which is not read.",
            hint="Load the file where you trust it, make numbers of that array, and save it again.",
        ) from err
    # ValueError: pickletools on any bytes that are not a pickle, and MalformedError. IndexError: the stack or the marks
    # are used up. KeyError: no such memo. Warning: a bad escape in a STRING, where the caller made warnings errors.
    except (ValueError, IndexError, KeyError, Warning) as err:
        reason = str(err) if isinstance(err, MalformedError) else f"cannot be decoded ({type(err).__name__}: {err})"
        raise DamagedFileError(
            f"{name} is damaged or cut short: its pickle {reason[:300]}.",
            hint="Copy or download it again, or save the model's state_dict() anew with torch.save.",
        ) from err


class _Machine:
    """The stack, the marked stacks below it, and the memo: all the state that a pickle has."""

    def __init__(self, load_storage: LoadStorage | None) -> None:
        self.load_storage = load_storage
        self.storages: dict[str, StorageReference] = {}
        self.stack: list[object] = []
        self.marked: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self.globals: dict[tuple[str, str], Global] = {}

    def run(self, stream: BinaryIO, end: int) -> object:
        self.stream, self.end = stream, end
        for count, (opcode, argument) in enumerate(read_operations(stream, end)):
            handler = _HANDLERS.get(opcode)
            if handler is None:
                raise MalformedError(f"uses the opcode {opcode}, which is not read")
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
            raise MalformedError(f"appends to {_kind(target)}")

    def set_items(self, items: list[object]) -> None:
        target = self.stack[-1]
        if len(items) % 2:
            raise MalformedError("has a key without a value")
        if isinstance(target, Inert):
            if target.entries is None:
                target.entries = {}
            target = target.entries
        if type(target) is not dict:
            raise MalformedError(f"sets entries of {_kind(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            is_text = type(key) is str and len(key) <= TEXT_MAX
            is_number = type(key) is int and -KEY_MAX <= key < KEY_MAX
            target[key if is_text or is_number else OpaqueKey(key)] = value

    def put(self, index: int) -> None:
        if not 0 <= index < 2 * KEY_MAX:
            raise MalformedError("uses a memo index beyond 32 bits")
        self.memo[index] = self.stack[-1]

    def find_global(self, module: str, qualname: str) -> Global:
        if len(module) + len(qualname) > TEXT_MAX:
            raise MalformedError(f"names a class in more than {TEXT_MAX} characters")
        # One record per name: a name is repeated in two bytes.
        return self.globals.setdefault((module, qualname), Global(module, qualname))

    def push_global(self, argument: str) -> None:
        module, _, qualname = argument.partition(" ")
        self.push(self.find_global(module, qualname))

    def push_stack_global(self, _: None) -> None:
        qualname, module = self.stack.pop(), self.stack.pop()
        if type(module) is not str or type(qualname) is not str:
            raise MalformedError("names a class by something that is not text")
        self.push(self.find_global(module, qualname))

    def call(self, function: object, args: object) -> None:
        """Push what stands for the result; only the functions of REBUILDERS, which are ours, are really called."""
        if type(args) is not tuple:
            raise MalformedError(f"calls with {_kind(args)} instead of a tuple of arguments")
        if isinstance(function, Global):
            rebuild = REBUILDERS.get((function.module, function.qualname))
            if rebuild is not None:
                self.push(rebuild(args))
            elif self.load_storage is not None and function.name == LOADED_STORAGE and len(args) == 1:
                self.push(self.load_storage(args[0]))
            else:
                self.push(Inert(function, args))
        elif isinstance(function, Inert):  # of a getattr or a functools.partial
            self.push(Inert(function.origin, args))
        else:
            raise MalformedError(f"calls {_kind(function)}")

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
            target.raw_state = state
            parts = state if type(state) is tuple and len(state) == 2 else (state,)  # attributes, then those in slots
            if target.global_name == "functools.partial" and type(state) is tuple and len(state) == 4:
                parts = ({"args": state[1], "keywords": state[2]},)  # beside the function and its attributes
            mappings = [part for part in parts if type(part) is dict]
            if mappings:
                target.state = mappings[0] if len(mappings) == 1 else ChainMap(*reversed(mappings))
            if self.load_storage is not None and target.global_name == WRAPPER:
                self.stack[-1] = skip_array(target, self.stream, end=self.end)
        # Of an OrderedDict they are a state_dict's _metadata, the versions of its modules.
        elif type(target) is not dict:
            raise MalformedError(f"sets attributes of {_kind(target)}")

    def load_persistent(self, _: None) -> None:
        match self.stack.pop():
            case ("storage", Global() as kind, str(key), str(location), int(numel), *view) if is_size(numel):
                is_known = kind.module in STORAGE_MODULES and kind.qualname in STORAGE_DTYPES
                dtype = STORAGE_DTYPES[kind.qualname] if is_known else kind.name
                self.storages.setdefault(key, StorageReference(key, dtype, numel, location))
                self.push(_view_storage(StorageReference(key, dtype, numel, location), view))
            # A class of modules, as files before torch 1.6 name it, with its source.
            case ("module", Global() as kind, *_):
                self.push(kind)
            case _:
                raise MalformedError("refers to something outside of it that is not a storage")


def _view_storage(storage: StorageReference, view: list[object]) -> StorageReference:
    """Take the part of a storage that a reference of a file before torch 1.6 names."""
    match view:
        case [] | [None]:
            return storage
        case [(str(), int(offset), int(numel))] if is_size(offset) and is_size(numel):
            if offset + numel > storage.numel:
                raise MalformedError("has a view of a storage that reaches beyond it")
            return StorageReference(storage.key, storage.dtype, numel, storage.location, offset)
    raise MalformedError("has a view of a storage without its offset and size")


def _kind(value: object) -> str:
    if isinstance(value, (Global, Inert)):
        return f"the stand-in {(value if isinstance(value, Global) else value.origin).name[:100]!r}"
    return f"a value of type {type(value).__name__}"


LOADED_STORAGE = "torch.storage._load_from_bytes"  # by which a storage is pickled outside of torch.save
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
