"""What pickles may become, and that nothing in them runs."""

from __future__ import annotations

import collections
import copyreg
import datetime
import io
import pickle
import pickletools
import subprocess
import sys
import time
import tracemalloc
import zipfile

import pytest
import torch

from embcompress.checkpoints.pickled.reader import _HANDLERS, PickleStream, read_pickle
from embcompress.checkpoints.pickled.records import (
    TEXT_MAX,
    Global,
    Inert,
    OpaqueKey,
    Span,
    StorageReference,
    TensorReference,
)
from embcompress.checkpoints.regions import FileRegion
from embcompress.exceptions import DamagedFileError

TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ"
SHAPE = b"K\x02K\x03\x86"  # (2, 3)
STRIDES = b"K\x03K\x01\x86"
REST = b"\x89N"  # requires_grad, hooks


def read(content: bytes) -> object:
    """Read a pickle under the name that the messages are checked for."""
    return read_pickle(content, name="model.pt")


def dump(value: object, protocol: int = 2) -> bytes:
    """Write the pickle that torch.save puts into its archive."""
    buffer = io.BytesIO()
    torch.save(value, buffer, pickle_protocol=protocol)
    with zipfile.ZipFile(buffer) as archive:
        return archive.read("archive/data.pkl")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_read_pickle_gives_back_plain_values_of_every_protocol(protocol):
    """Numbers, texts, bytes and containers come back as they were."""
    shared = [1, 2]
    value = {
        "none": None,
        "flags": [True, False],
        "numbers": (0, 1, -1, 255, 65536, -(2**31), 2**70, -(2**2100), 0.5, float("inf")),
        "text": "naïve\n'\"\\ \u20ac \ud800",
        7: ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "shared": [shared, shared],
        "nested": {"a": {"b": [[]]}, "ordered": collections.OrderedDict(x=1, y=2)},
    }
    actual = read(pickle.dumps(value, protocol))
    assert actual == value
    assert actual["shared"][0] is actual["shared"][1]


@pytest.mark.parametrize(("protocol", "make"), [(3, bytes), (4, bytes), (5, bytes), (5, bytearray)])
def test_read_pickle_tells_where_bytes_lie(tmp_path, protocol, make):
    """Bytes are not held: their place in what is read, in memory and in the middle of a file, holds them."""
    values = [make(b"abc"), make(range(256)) * 300, make(b"")]
    content = pickle.dumps(values, protocol)
    path = tmp_path / "x"
    path.write_bytes(b"before" + content + b"after")
    with open(path, "rb", buffering=0) as file:
        stream = PickleStream(FileRegion(file, 6, len(content) + 5), name="x", nbytes=len(content) + 5)
        for spans in (read(content), stream.read().value):
            assert {type(span) for span in spans} == {Span}
            assert [content[span.start : span.start + span.nbytes] for span in spans] == values
        assert stream.position == len(content)


@pytest.mark.parametrize("protocol", [2, 4])
def test_read_pickle_tells_where_long_texts_lie(protocol):
    """A text longer than a key can be is not held either; the longest key is."""
    short, long = "ä" * (TEXT_MAX // 2), "ä" * (TEXT_MAX // 2) + "x"
    content = pickle.dumps([short, long], protocol)
    key, span = read(content)
    assert key == short
    assert span.is_text
    assert content[span.start : span.start + span.nbytes].decode() == long


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_read_pickle_makes_sets_and_foreign_objects_inert(protocol):
    """A class that is not ours becomes its name, its arguments and its state."""
    actual = read(pickle.dumps([{"x"}, datetime.date(2024, 1, 2), slice(1, 2), ValueError], protocol))
    names, date, part, error = actual
    assert names.global_name in ("builtins.set", "__builtin__.set")
    assert list(names.items or names.args[0]) == ["x"]
    assert (date.global_name, len(date.args)) == ("datetime.date", 1)
    assert part.args == (1, 2, None)
    assert isinstance(error, Global)
    assert error.name in ("builtins.ValueError", "exceptions.ValueError")


def test_read_pickle_keeps_the_content_of_inert_lists_dicts_and_states():
    """Appended items, entries, attributes and slots of a stand-in can be looked up and touch nothing else."""
    content = (
        b"cm\nC\n)\x81"
        b"(K\x01K\x02e"
        b"(X\x01\x00\x00\x00kK\x03u"
        b"}(X\x01\x00\x00\x00aK\x04X\x06\x00\x00\x00originK\x05u}X\x04\x00\x00\x00argsK\x06s\x86b."
    )
    actual = read(content)
    assert (actual.global_name, actual.args, actual.items, actual.entries) == ("m.C", (), [1, 2], {"k": 3})
    assert dict(actual.state) == {"a": 4, "origin": 5, "args": 6}
    assert actual.origin.qualname == "C"


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_read_pickle_reads_tensors_as_places(protocol):
    """Tensors, parameters and tensors with attributes become their storage, offset, shape and strides."""
    base = torch.arange(12.0).reshape(3, 4)
    noted = torch.nn.Parameter(base)
    noted.note = "kept by torch"
    part, parameter, half, odd = read(
        dump([base[1:, ::2], noted, base.half(), torch.zeros(2, dtype=torch.uint16)], protocol)
    )
    assert (part.offset, part.shape, part.strides, part.dtype) == (4, (2, 2), (4, 2), "float32")
    assert (part.storage.key, part.storage.dtype, part.storage.numel, part.storage.location) == (
        "0",
        "float32",
        12,
        "cpu",
    )
    assert (parameter.shape, parameter.dtype, parameter.pending) == ((3, 4), "float32", ())
    assert (half.dtype, half.storage.dtype) == ("float16", "float16")
    assert (odd.dtype, odd.storage.dtype, odd.storage.numel) == ("uint16", None, 4)


def test_read_pickle_notes_lazy_conjugates():
    """A conjugated view shares the storage of the other values, and says so."""
    actual = read(dump(torch.ones(2, dtype=torch.complex64).conj()))
    assert actual.pending == ("conj",)


def test_read_pickle_hand_built_tensor_is_read():
    """The parts that the next tests damage make a tensor when they are whole."""
    actual = read(TENSOR + b"(" + STORAGE + b"K\x00" + SHAPE + STRIDES + REST + b"tR.")
    assert isinstance(actual, TensorReference)
    assert isinstance(actual.storage, StorageReference)
    assert (actual.shape, actual.strides) == ((2, 3), (3, 1))


@pytest.mark.parametrize(
    "arguments",
    [
        b"",
        b"NK\x00" + SHAPE + STRIDES + REST,
        STORAGE + b"J\xff\xff\xff\xff" + SHAPE + STRIDES + REST,
        STORAGE + b"\x88" + SHAPE + STRIDES + REST,
        STORAGE + b"G\x00\x00\x00\x00\x00\x00\x00\x00" + SHAPE + STRIDES + REST,
        STORAGE + b"K\x00]" + STRIDES + REST,
        STORAGE + b"K\x00K\x02\x85" + STRIDES + REST,
        STORAGE + b"K\x00K\x02X\x01\x00\x00\x003\x86" + STRIDES + REST,
        STORAGE + b"K\x00" + SHAPE + b"K\x03J\xff\xff\xff\xff\x86" + REST,
        STORAGE + b"K\x00" + SHAPE + b"K\x03\x8a\x09" + b"\xff" * 8 + b"\0\x86" + REST,
        STORAGE + b"K\x00(" + b"K\x01" * 65 + b"t(" + b"K\x01" * 65 + b"t" + REST,
        STORAGE + b"cos\nsystem\n" + SHAPE + STRIDES + REST,
    ],
)
def test_read_pickle_refuses_tensors_of_wrong_parts(arguments):
    """Negative, boolean, float, oversized or missing parts of a tensor are named as damage."""
    with pytest.raises(DamagedFileError, match=r"model\.pt .* tensor"):
        read(TENSOR + b"(" + arguments + b"tR.")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "exhausted"),
        (b"\x80\x02", "exhausted"),
        (b".", "IndexError"),
        (b"K", "uint1"),
        (b"\xff.", "unknown"),
        (b"h\x05.", "KeyError"),
        (b"N1.", "IndexError"),
        (b"u.", "IndexError"),
        (b"}(Nu.", "key without a value"),
        (b"(Nd.", "key without a value"),
        (b"N\x85\x86.", "IndexError"),
        (b"NNR.", "instead of a tuple"),
        (b"N)R.", "calls a value of type NoneType"),
        (b"(N)o.", "calls a value of type NoneType"),
        (b"(o.", "IndexError"),
        (b"cos\nsystem\n}b.", "sets attributes of the stand-in 'os.system'"),
        (b"ctorch\nSize\n}b.", "sets attributes of the stand-in 'torch.Size'"),
        (b"]}b.", "sets attributes of a value of type list"),
        (b"cos\nenviron\nNa.", "appends to the stand-in"),
        (b"cos\nenviron\nNNs.", "sets entries of the stand-in"),
        (b"NNN\x93.", "not text"),
        (b"K\x01K\x02\x93.", "not text"),
        (b"c" + b"m" * 5000 + b"\nC\n.", "more than 4096 characters"),
        (b"\x82\x01.", "EXT1"),
        (b"\x83\x01\x00.", "EXT2"),
        (b"\x84\x01\x00\x00\x00.", "EXT4"),
        (b"Pid\n.", "PERSID"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"NQ.", "not a storage"),
        (b"X\x07\x00\x00\x00storage\x85Q.", "not a storage"),
        (b"ctorch\nSize\nK\x01\x85R.", "torch.Size"),
        (b"ctorch._utils\n_rebuild_parameter\nN\x85R.", "parameter"),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n)R.", "subclass"),
        (b"ctorch._utils\n_rebuild_tensor_v3\n)R.", "without a dtype"),
        (b"I" + b"9" * 10**6 + b"\n.", "ValueError: Exceeds the limit"),  # before it is converted, in quadratic time
        (b"L" + b"9" * 10**6 + b"L\n.", "ValueError: Exceeds the limit"),
        (b"F1.5.5\n.", "ValueError"),
        (b"F" + b"1" * 10**6 + b"x\n.", "ValueError"),
        (b"S'ab\n.", "ValueError"),
        (b"S'\\xZZ'\n.", "ValueError"),
        (b"S'\\q'\n.", "DeprecationWarning"),
        (b"V\\u12\n.", "UnicodeDecodeError"),
        (b"X\x02\x00\x00\x00\xff\xff.", "UnicodeDecodeError"),
        (b"\x8e" + b"\xff" * 8 + b"abc.", "bytes8"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "bytes8"),
        (b"\x96\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "bytearray8"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "unicodestring8"),
        (b"\x8b\xff\xff\xff\x7fabc.", "long4"),
        (b"\x8b\xff\xff\xff\xffabc.", "long4"),
        (b"Np-1\n0.", "memo"),
        (b"Np99999999999999999999\n.", "memo"),
    ],
)
def test_read_pickle_names_damage(content, reason):
    """Whatever is wrong, one sentence of what and where, quickly and without a large allocation."""
    tracemalloc.start()
    begin = time.thread_time()
    with pytest.raises(DamagedFileError) as caught:
        read(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.message.startswith("model.pt is damaged or cut short: its pickle ")
    assert reason in caught.value.message
    assert len(str(caught.value)) < 600
    assert caught.value.hint
    assert time.thread_time() - begin < 5  # computed by this thread; measured: 0.02
    assert peak < 2**20 + 10 * len(content)


@pytest.mark.parametrize("code", [b"\x82\xf0", b"\x83\xb8\x0b", b"\x84\x70\x11\x01\x00"])
def test_read_pickle_refuses_registered_extension_codes(code):
    """A code that this process registered is refused like any other."""
    number = int.from_bytes(code[1:], "little")
    copyreg.add_extension("os", "getpid", number)
    try:
        assert pickletools.code2op[chr(code[0])].name.startswith("EXT")
        with pytest.raises(DamagedFileError, match="EXT"):
            read(code + b")R.")
    finally:
        copyreg.remove_extension("os", "getpid", number)


def test_read_pickle_decides_on_every_opcode():
    """Each opcode of this Python is either handled or one of the five that are refused."""
    assert {opcode.name for opcode in pickletools.opcodes} - set(_HANDLERS) == {
        *("EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER")
    }


def test_read_pickle_memo_index_costs_no_memory():
    """A memo index of 2^32 - 1 is one entry; pickle's own C reader would reserve 32 GiB for it."""
    tracemalloc.start()
    actual = read(b"]r\xff\xff\xff\xff0j\xff\xff\xff\xff.")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert actual == []
    assert peak < 100_000


def test_read_pickle_does_not_hash_nested_tuples():
    """A key of 2^200 leaves, written in 600 bytes, is kept apart by identity: its hash would never be ready."""
    key = b"cm\nC\n" + b"q\x00h\x00\x86" * 200
    actual = read(b"}" + key + b"K\x05s.")
    (opaque,) = actual
    assert isinstance(opaque, OpaqueKey)
    assert actual[opaque] == 5
    frozen = read(b"(" + key + b"\x91.")
    assert len(frozen.items) == 1


def test_read_pickle_does_not_hash_colliding_integers():
    """Integers that share one hash do not turn a dict into a list of 30,000: its keys have hashes of their own."""
    numbers = [k * (2**61 - 1) for k in range(1, 30_001)]
    keys = [pickle.encode_long(number) for number in numbers]
    content = b"}(" + b"".join(b"\x8a" + bytes([len(key)]) + key + b"N" for key in keys) + b"u."
    actual = read(content)
    assert len({hash(number) for number in numbers}) == 1
    assert len({hash(key) for key in actual}) == 30_000
    assert [key.value for key in actual] == numbers


def test_read_pickle_does_not_compare_long_texts():
    """Two equal keys of a million characters are not compared for each of 40,000 entries set, but kept apart."""
    text = b"X" + (10**6).to_bytes(4, "little") + b"a" * 10**6
    actual = read(text + b"q\x000" + text + b"q\x010}(" + b"h\x00Nh\x01N" * 20_000 + b"u.")
    assert len(actual) == 40_000  # a dict that compared them would have one entry
    assert {type(key) for key in actual} == {OpaqueKey}
    assert len({id(key.value) for key in actual}) == 2


def test_read_pickle_accepts_unhashable_keys():
    """A list as a key, which Python refuses, is kept apart too."""
    (key,) = read(b"}]Ns.")
    assert key.value == []


@pytest.mark.parametrize(
    "content",
    [
        b"]q\x00h\x00a.",
        b"}q\x00X\x01\x00\x00\x00ah\x00s.",
        b"cm\nC\n)\x81q\x00h\x00a.",
        b"cm\nC\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb.",
        b"](" + b"(" * 50_000 + b"l" * 50_000 + b"e.",
        b"N" + b"\x85" * 50_000 + b".",
    ],
)
def test_read_pickle_survives_cycles_and_depth(content):
    """Containers within themselves or 50,000 deep are read, shown and freed."""
    actual = read(content)
    if isinstance(actual, Inert):
        assert repr(actual) == "<Inert 'm.C'>"
    assert actual is not None


def test_read_pickle_repeats_nothing():
    """Calls on an argument that is on the stack already take no memory for it, whatever they would have made."""
    text = b"X" + (10**6).to_bytes(4, "little") + b"a" * 10**6
    calls = [
        b"c_codecs\nencode\nq\x01(h\x00X\x06\x00\x00\x00latin1tq\x02",
        b"c__builtin__\nset\nq\x01h\x00\x85q\x02",
        b"cbuiltins\nbytearray\nq\x01h\x00\x85q\x02",
        b"cbuiltins\nlist\nq\x01h\x00\x85q\x02",
        b"ccollections\nOrderedDict\nq\x01h\x00\x85q\x02",
    ]
    for call in calls:
        tracemalloc.start()
        read(text + b"q\x000]" + call + b"00(" + b"h\x01h\x02R" * 10_000 + b"e.")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 15 * 2**20  # the text three times, 10,000 stand-ins; copies would take 10 GB


def test_read_pickle_limits_memory_per_byte():
    """The densest opcodes take at most 200 bytes of memory each."""
    for code in (b"\x8f", b"}", b"]", b"("):
        tracemalloc.start()
        read(b"N" + b"\x94" + code * 20_000 + b"N.")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 200 * 20_000


AUDIT = r'''
import builtins, collections, copyreg, io, pickle, struct, sys, zipfile
from pathlib import Path

from embcompress.checkpoints.torch_files import torch_file
from embcompress.checkpoints.files import Files
from embcompress.checkpoints.pickled.reader import read_pickle
from embcompress.exceptions import EmbcompressError

folder = Path(sys.argv[1])
marker = folder / "marker"

def text(value):
    value = value.encode()
    return b"X" + struct.pack("<I", len(value)) + value

def names(module, name):
    """The three ways to name a global."""
    short = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name))
    return [f"c{module}\n{name}\n".encode(), short + b"\x93", text(module) + text(name) + b"\x93"]

shell = f"touch {marker}"
code = f"open({str(marker)!r}, 'w')"
targets = [("os", "system", shell), ("posix", "system", shell), ("os", "popen", shell), ("subprocess", "Popen", shell),
           ("subprocess", "getoutput", shell), ("builtins", "eval", code), ("builtins", "exec", code),
           ("__builtin__", "eval", code), ("builtins", "compile", code), ("builtins", "__import__", "antigravity"),
           ("importlib", "import_module", "antigravity"), ("pydoc", "locate", "antigravity"),
           ("builtins", "open", str(marker)), ("io", "open", str(marker)),
           ("pathlib", "Path.touch", str(marker)), ("socket", "socket", "x"), ("socket", "create_connection", "x"),
           ("os", "listdir", "/"), ("os", "putenv", "x"), ("runpy", "run_path", str(marker)), ("ctypes", "CDLL", "x"),
           ("torch", "load", str(marker)), ("torch.hub", "load", "x"), ("pickle", "loads", "x"),
           ("embcompress.checkpoints.pickled.reader", "read_pickle", "x"), ("antigravity", "x", "x")]
payloads = []
for module, name, argument in targets:
    quoted = b"S" + repr(argument).encode() + b"\n"
    for named in names(module, name):
        value = text(argument)
        payloads += [
            named + value + b"\x85R.",                                         # REDUCE
            named + value + b"\x85\x81.",                                      # NEWOBJ
            named + value + b"\x85}\x92.",                                     # NEWOBJ_EX
            named + value + b"\x85}" + text("x") + value + b"s\x92.",
            b"(" + named + value + b"o.",                                      # OBJ
            named + value + b"b.",                                             # BUILD on the global itself
            named + value + b"\x85b.",
            named + b"}" + text("__setstate__") + named + b"sb" + value + b"b.",
            b"cm\nC\n)\x81}" + text("__setstate__") + named + b"sb" + value + b"b.",   # BUILD on an instance
            b"cm\nC\n)\x81N}" + text("__setstate__") + named + b"s\x86b" + value + b"b.",
            b"cm\nC\n)\x81}" + text("__class__") + named + b"sb)\x81.",
            b"cm\nC\n)\x81}(" + b"".join(text(key) + named for key in
                ("origin", "args", "items", "entries", "append", "extend", "__reduce__", "__dict__", "__call__",
                 "__getattr__", "__getstate__", "__del__", "__hash__", "__eq__", "__repr__")) + b"ub" + value + b"a.",
            named + value + b"a.",                                             # APPEND, SETITEM, ADDITEMS on a global
            named + b"(" + value + b"e.",
            named + value + value + b"s.",
            named + b"(" + value + b"\x90.",
            b"}" + named + value + b"\x85Rq\x00h\x00s.",                       # as key and value
            b"\x8f(" + named + value + b"\x85R\x90.",                          # in a set
            named + value + b"\x85Q.",                                         # BINPERSID
            b"(" + text("storage") + named + text("0") + text("cpu") + b"K\x01tQ.",
            named + b")R" + value + b"\x85R.",                                 # a call of what a call gives
            b"cbuiltins\ngetattr\n" + named + text("__call__") + b"\x86R" + value + b"\x85R.",
            b"cbuiltins\ngetattr\ncbuiltins\n__import__\n" + text(module) + b"\x85R" + text(name) + b"\x86R"
            + value + b"\x85R.",
            b"cfunctools\npartial\n" + named + value + b"\x86R)R.",
            b"cfunctools\nreduce\n" + named + b"]" + value + b"a\x86R.",
            b"cbuiltins\nmap\n" + named + b"]" + value + b"a\x86R.",
            b"coperator\nmethodcaller\n" + value + b"\x85R" + named + b"\x85R.",
            b"ccollections\ndefaultdict\n" + named + b"\x85R.",
            b"ccollections\nOrderedDict\n)R}" + text("__setitem__") + named + b"sb" + value + value + b"s.",
            b"ctorch._tensor\n_rebuild_from_type_v2\n(" + named + named + value + b"\x85}tR.",
            b"ctorch._utils\n_rebuild_parameter\n" + named + value + b"\x85R" + b"\x89}\x87R.",
            b"ctorch._utils\n_rebuild_tensor_v2\n}" + text("__defaults__") + named + b"sb.",
            b"ccopyreg\n_reconstructor\n" + named + b"cbuiltins\nobject\nN\x87R.",
            b"ccopyreg\n__newobj__\n" + named + value + b"\x86R.",
            b"cbuiltins\napply\n" + named + value + b"\x85\x86R.",
        ]
    payloads += [b"(" + quoted + f"i{module}\n{name}\n.".encode(),             # INST
                 f"P{argument}\n.".encode(), text(argument) + b"Q."]            # PERSID
for number, extension in enumerate([b"\x82\xf0", b"\x83\xb8\x0b", b"\x84\x70\x11\x01\x00"]):
    copyreg.add_extension("os", ("system", "popen", "remove")[number], int.from_bytes(extension[1:], "little"))
    payloads += [extension + text(shell) + b"\x85R.", b"(" + extension + text(shell) + b"o."]
payloads += [b"\x97.", b"\x97\x98.", text("x") + b"\x98."]

paths = []
for number, payload in enumerate(payloads):
    paths.append(str(folder / f"{number}.pt"))
    with zipfile.ZipFile(paths[-1], "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02}(" + text("weight") + payload[:-1] + b"u.")
        archive.writestr("m/data/0", b"0000")

events, allowed = [], set()

def hook(event, arguments):
    if event == "builtins.id" or (event == "open" and arguments[0] in allowed):
        return
    events.append((event, repr(arguments)[:200]))

def attempt(action):
    try:
        action()
    except EmbcompressError:
        pass

def read_file(path):
    with Files(path) as files:
        torch_file.read_listing(Path(path), files)

# What Python itself imports once, such as the codecs of text opcodes, comes before.
read_pickle(b"(S'a'\nU\x01aVa\nK\x01l.", name="x")
attempt(lambda: read_file(paths[0]))
with zipfile.ZipFile(io.BytesIO(), "w") as archive:
    archive.writestr("a", "b")

sys.addaudithook(hook)
for payload, path in zip(payloads, paths):
    attempt(lambda: read_pickle(payload, name="x"))
    allowed.add(path)
    attempt(lambda: read_file(path))
found = list(events)
made = marker.exists()
try:
    pickle.loads(payloads[0])  # the hook sees what it should: this is the attack that the others vary
except Exception:
    pass
print(len(payloads), found[:5], made, marker.exists(), any(event == "os.system" for event, _ in events))
'''


def test_read_pickle_runs_nothing(tmp_path):
    """Of 2,700 payloads through every opcode that can call or import, bare and in a file, none does anything."""
    script = tmp_path / "audit.py"
    script.write_text(AUDIT)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    count, rest = done.stdout.split(" ", 1)
    assert int(count) > 2700
    assert rest.strip() == "[] False True True"
