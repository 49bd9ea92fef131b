"""Files of ids and labels in every form, and what is wrong with them by name."""

from __future__ import annotations

import gzip
import random
import sys
import tracemalloc
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from embcompress.checkpoints.column_files.values import LABEL_ROWS
from embcompress.exceptions import CheckpointError, EmbcompressError, IdsError
from embcompress.tables.labels import read_ids, read_label_file, read_labels
from tests.fixtures import write_content

SAMPLES = Path(__file__).parents[2] / "sample_checkpoints"
# What pandas would have to quote, what looks like a header or a number, what only `splitlines` takes for a line's end.
LABELS = [
    'say "hi"',
    "a\tb",
    "id",
    "label",
    "",
    " x ",
    "7",
    "naïve 漢字 🦜",
    "a\u2028b\x85c\x0bd",
    "'",
    "two\nlines",
    "two\r\nlines",
    "a\rb",
]
PANDAS = (
    'id\tlabel\n3\tlabel\n0\t"say ""hi"""\n1\t"a\tb"\n2\tid\n4\t\n5\t x \n6\t7\n7\tnaïve 漢字 🦜\n'
    '8\ta\u2028b\x85c\x0bd\n9\t\'\n10\t"two\nlines"\n'
    '11\t"two\r\nlines"\n12\t"a\rb"\n'
)  # what DataFrame.to_csv(sep="\t") makes of them, in another order


def one_a_line(labels: Sequence[str]) -> str:
    """Join labels by newlines, with one at the end."""
    return "".join(f"{label}\n" for label in labels)


def npy(dtype: str, shape: tuple[int, ...], values: bytes) -> bytes:
    """Write an array as NumPy does, version 1.0."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + values


SINGLE = LABELS[:-3]  # of one line
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [{"id": 2, "content": "<pad>", "special": True}, {"id": 0, "content": "a"}],
    "model": {"type": "BPE", "vocab": {"b": 1, "a": 0}, "merges": []},
}
UNIGRAM = {"added_tokens": [{"id": 2, "content": "<x>"}], "model": {"vocab": [["a", 0.0], ["b", -1.5]]}}
FORMS: dict[str, tuple[str, str | bytes | object, list[str]]] = {
    "tsv as pandas writes it": ("e.tsv", PANDAS, LABELS),
    "the same, packed": ("e.tsv.gz", PANDAS, LABELS),
    "packed under a plain name": ("e.tsv", gzip.compress(PANDAS.encode()), LABELS),
    "tsv in capitals": ("E.TSV", PANDAS, LABELS),
    "tsv without a header": ("e.tsv", "1\tid\n0\tx\n", ["x", "id"]),
    "tsv without a last newline": ("e.tsv", "0\tx\n1\ty", ["x", "y"]),
    "tsv from Windows": ("e.tsv", "\ufeffid\tlabel\r\n1\ty\r\n0\tx\r\n", ["x", "y"]),
    "tsv of the header's words as a label": ("e.tsv", "id\tlabel\n0\tid\n", ["id"]),
    "one a line": ("e.txt", one_a_line(SINGLE), SINGLE),
    "one a line, packed": ("e.txt.gz", one_a_line(SINGLE), SINGLE),
    "one a line, no ending": ("vocabulary", "a\nb", ["a", "b"]),
    "one a line, from Windows": ("e.txt", "a\r\nb\r\n", ["a", "b"]),
    "one a line, a blank one": ("e.txt", "a\n\nb\n", ["a", "", "b"]),
    "vocab.json": ("vocab.json", {"b": 1, "a": 0, "c d": 2}, ["a", "b", "c d"]),
    "vocab.json with a token called model": ("vocab.json", {"model": 1, "vocab": 0}, ["vocab", "model"]),
    "JSON list": ("l.json", LABELS, LABELS),
    "JSON list, packed": ("l.json.gz", LABELS, LABELS),
    "tokenizer.json with added tokens": ("tokenizer.json", TOKENIZER, ["a", "b", "<pad>"]),
    "tokenizer.json of a unigram model": ("tokenizer.json", UNIGRAM, ["a", "b", "<x>"]),
    "tokenizer.json with a hole": (
        "tokenizer.json",
        {"added_tokens": [{"id": 4, "content": "<x>"}], "model": {"vocab": {"a": 0, "b": 1, "c": 2}}},
        ["a", "b", "c", "", "<x>"],
    ),
    "tokenizer.json with an added token in the place of another": (
        "tokenizer.json",
        {"added_tokens": [{"id": 1, "content": "<x>"}], "model": {"vocab": {"a": 0, "b": 1}}},
        ["a", "<x>"],
    ),
    "id2label.json": ("id2label.json", {"1": "b", "0": "a", "2": "7"}, ["a", "b", "7"]),
    "config.json": ("config.json", {"hidden_size": 8, "id2label": {"0": "a", "1": "b"}}, ["a", "b"]),
    "vocab.json with a token called id2label": ("vocab.json", {"id2label": 0, "b": 1}, ["id2label", "b"]),
    "vocab.json with a hole": ("vocab.json", {"a": 0, "b": 2}, ["a", "", "b"]),
    "JSON list with a number among texts": ("l.json", ["a", None, "b", 3], ["a", "", "b", ""]),
    "JSON with half a character": ("l.json", '["a", "\\udc80"]', ["a", "\\udc80"]),
    "labels twice": ("l.json", ["x", "y", "x"], ["x", "y", "x"]),
    "lines twice": ("e.txt", "x\ny\nx\nz\nz\n", ["x", "y", "x", "z", "z"]),
    "tsv with a label twice": ("e.tsv", "0\tx\n1\ty\n2\tx\n", ["x", "y", "x"]),
    "tsv with a gap": ("e.tsv", "0\tx\n3\ty\n1\tz\n", ["x", "z", "", "y"]),
    "tsv from 1": ("e.tsv", "1\tx\n2\ty\n", ["", "x", "y"]),
    "tsv the other way round": ("e.tsv", "x\t1\ny\t0\n", ["y", "x"]),
    "tsv under the other header": ("e.tsv", "label\tid\nx\t1\ny\t0\n", ["y", "x"]),
    "tsv of ids and years": ("e.tsv", "0\t1999\n1\t2004\n", ["1999", "2004"]),
    "one line of Latin-1": ("e.txt", b"a\nb\ncaf\xe9\nd\n", ["a", "b", "caf\\xe9", "d"]),
    "del": ("entity_ids.del", '0\t"say"\n2\tb\tc\n1\t7\n', ['"say"', "7", "b\tc"]),
    "dict": ("entities.dict", "0\t/m/027rn\n1\t/m/06cx9\n", ["/m/027rn", "/m/06cx9"]),
    "id and label under a plain name": ("e.txt", "1\tb\n0\ta\n", ["a", "b"]),
    "OpenKE": ("entity2id.txt", "3\n/m/b\t1\n/m/a\t0\nnew york\t2\n", ["/m/a", "/m/b", "new york"]),
    "OpenKE with spaces": ("relation2id.txt", "2\nhas a 1\nis 0\n", ["is", "has a"]),
    "OpenKE of numbers": ("entity2id.txt", "3\n2004\t0\n1999\t2\n7\t1\n", ["2004", "7", "1999"]),
    "KB2E, without a count": ("entity2id.txt", "b\t1\na\t0\nc\t2\n", ["a", "b", "c"]),
    "sentencepiece": ("m.vocab", "<unk>\t0\n▁a\t-3.25\n\u2028\t-4e-05\n▁\t-5\n", ["<unk>", "▁a", "\u2028", "▁"]),
    "sentencepiece of BPE": ("m.vocab", "<unk>\t0\n<s>\t0\n▁t\t-0\n▁th\t-1\n", ["<unk>", "<s>", "▁t", "▁th"]),
    "sentencepiece with a newline and a tab": (
        "m.vocab",
        "<unk>\t0\n\n\t0\n\t\t0\na\t-1.5\n",
        ["<unk>", "\n", "\t", "a"],
    ),
    "sentencepiece with a piece twice": ("m.vocab", "a\t0\nb\t-1.5\na\t-2.5\n", ["a", "b", "a"]),
    "a list that is named vocab": ("bert.vocab", "[PAD]\n[UNK]\nthe\n", ["[PAD]", "[UNK]", "the"]),
    "fairseq": ("dict.txt", "the 51\n, 48\nof 48\nmadeupword0000 0\n", ["the", ",", "of", "madeupword0000"]),
    "fairseq with a flag": ("dict.txt", "the 51\n<mask> 0 #fairseq:overwrite\n", ["the", "<mask>"]),
    "counts behind tabs": ("dict.txt", "New York\t51\nthe\t51\n", ["New York", "the"]),
    "names with a number, not unique without": ("e.txt", "person 1\nperson 2\n", ["person 1", "person 2"]),
    "names with a number, not all": ("e.txt", "room 1\nhall\n", ["room 1", "hall"]),
    "one name with a number": ("e.txt", "room 1\n", ["room 1"]),
    "csv": ("e.csv", '1,"a, b"\n0,x\n', ["x", "a, b"]),
    "csv the other way round": ("e.csv", "b,1\na,0\n", ["a", "b"]),
    "csv under a header": ("e.csv", "id,label\n1,b\n0,a\n", ["a", "b"]),
    "csv under the other header": ("e.csv", "Name,ID\nb,1\na,0\n", ["a", "b"]),
    "csv of pandas, index first": ("e.csv", ",item\n0,a\n1,b\n", ["a", "b"]),
    "csv of one column": ("e.csv", "a\nb\n", ["a", "b"]),
    "csv of one column under a header": ("e.csv", "item\na\n7\n", ["a", "7"]),
    "csv of more columns": ("e.csv", "title,year,id\nHeat,1995,1\nJaws,1975,0\n", ["Jaws", "Heat"]),
    "csv of labels and counts": ("e.csv", "the,51\nof,48\n,7\n", ["the", "of", ""]),
    "csv, packed": ("e.csv.gz", "id,label\n0,a\n", ["a"]),
    "npy of texts": ("l.npy", npy("<U2", (3,), "b\0aé𝄞\0".encode("utf-32-le")), ["b", "aé", "𝄞"]),
    "npy of the other endian": ("l.npy", npy(">U1", (2,), "bé".encode("utf-32-be")), ["b", "é"]),
    "npy of bytes": ("l.npy", npy("|S3", (2,), "b\0\0né".encode()), ["b", "né"]),
    "tokenizer.json without added tokens": ("t.json", {"model": {"vocab": {"b": 1, "a": 0}}}, ["a", "b"]),
}


@pytest.mark.parametrize(("name", "content", "expected"), FORMS.values(), ids=FORMS)
def test_read_labels_gives_them_in_the_order_of_their_ids(
    tmp_path: Path, name: str, content: Any, expected: list[str]
) -> None:
    """Every form gives the same labels, each at the place of its id, whatever characters it holds."""
    assert read_labels(write_content(tmp_path / name, content)) == expected


def test_read_labels_reads_the_samples() -> None:
    """PyKEEN's own id maps and the word list give as many labels as their tables have rows, sorted as PyKEEN sorts."""
    entities = read_labels(SAMPLES / "kinships-complex" / "training_triples" / "entity_to_id.tsv.gz")
    assert entities == sorted(f"person{number}" for number in range(104))
    assert len(read_labels(SAMPLES / "words" / "vocabulary.txt")) == 2325


@pytest.mark.parametrize("form", ["tsv", "txt", "json"])
def test_read_labels_orders_many(tmp_path: Path, form: str) -> None:
    """A thousand labels, stored in random order, come in that of their ids."""
    expected = [f"label {number * 7919 % 1000}" for number in range(1000)]
    pairs = list(enumerate(expected))
    random.Random(0).shuffle(pairs)
    content: object = {label: index for index, label in pairs}
    if form == "tsv":
        content = "".join(f"{index}\t{label}\n" for index, label in pairs)
    elif form == "txt":
        content = one_a_line(expected)
    assert read_labels(write_content(tmp_path / f"v.{form}", content)) == expected


WRONG_LABELS: dict[str, tuple[str, str | bytes | object, type[EmbcompressError], str]] = {
    "missing": ("no.txt", None, CheckpointError, "no.txt does not exist"),
    "gz that is no gzip": ("e.tsv.gz", b"plain", CheckpointError, "is named .gz and is not packed by gzip"),
    "gzip cut short": ("e.tsv", gzip.compress(b"0\tx\n" * 99)[:-12], CheckpointError, "is a damaged gzip file"),
    "gzip with a flipped bit": ("e.tsv", b"\x1f\x8b" + bytes(30), CheckpointError, "is a damaged gzip file"),
    "gzip with a wrong checksum": (
        "e.tsv",
        gzip.compress(b"0\tx\n")[:-8] + bytes(8),
        CheckpointError,
        "is a damaged gzip file",
    ),
    "empty": ("e.txt", "", IdsError, "e.txt holds no labels"),
    "header alone": ("e.tsv", "id\tlabel\n", IdsError, "e.tsv holds no labels"),
    "JSON that is none": ("e.json", "id\tlabel\n", CheckpointError, "e.json is no JSON"),
    "JSON cut short": ("e.json", '{"a": 0, "b"', CheckpointError, "e.json is no JSON"),
    "JSON too deep": ("e.json", "[" * 200_000, CheckpointError, "e.json is no JSON"),
    "JSON of a number": ("e.json", 3, CheckpointError, "holds no vocabulary"),
    "JSON list of numbers": ("e.json", [0, 1], CheckpointError, "holds no vocabulary"),
    "JSON with a label twice": ("e.json", '{"a": 0, "b": 1, "a": 2}', IdsError, "several ids are given to 'a'"),
    "JSON with a fraction": ("e.json", {"a": 0, "b": 1.5}, IdsError, "the id of 'b' is 1.5, which is no integer"),
    "JSON with a text": ("e.json", {"a": "0"}, IdsError, "the id of 'a' is 0, which is no integer"),
    "JSON with true": ("e.json", {"a": 0, "b": True}, IdsError, "the id of 'b' is True"),
    "JSON with an id twice": ("e.json", {"a": 0, "b": 1, "c": 1}, IdsError, "gives id 1 twice, also to 'c'"),
    "JSON with a negative id": ("e.json", {"a": 0, "b": -1}, IdsError, "must not be negative; 'b' has -1"),
    "tokenizer without a vocabulary": ("e.json", {"model": {"merges": []}}, CheckpointError, "is no tokenizer"),
    "tokenizer of another form": ("e.json", {"model": {"vocab": [["a"]]}}, CheckpointError, "is no tokenizer"),
    "added tokens of another form": (
        "e.json",
        {"model": {"vocab": {"a": 0}}, "added_tokens": ["b"]},
        CheckpointError,
        "is no tokenizer",
    ),
    "added token beyond the end": (
        "e.json",
        {"model": {"vocab": {"a": 0}}, "added_tokens": [{"content": "b", "id": 5}]},
        IdsError,
        "has labels for 2 of 6 ids; the first that has none is 1",
    ),
    "the added tokens of a tokenizer alone": (
        "added_tokens.json",
        {"<a>": 32000, "<b>": 32001},
        IdsError,
        "has labels for 2 of 32002 ids; the first that has none is 0",
    ),
    "id2label with a gap": ("e.json", {"0": "a", "5": "b"}, IdsError, "has labels for 2 of 6 ids"),
    "id2label with an id twice": ("e.json", {"0": "a", "00": "b"}, IdsError, "gives id 0 twice, also to 'b'"),
    "binary": ("e.txt", b"ab\xff\xfe", CheckpointError, "is no text in UTF-8: byte 2 is 0xff"),
    "binary with newlines": ("e.txt", b"a\nb\nc\n\0\xff\n", CheckpointError, "is no text in UTF-8: byte 7 is 0xff"),
    "UTF-16": ("e.txt", "a\nb\n".encode("utf-16"), CheckpointError, "is no text in UTF-8: byte 0 is 0xff"),
    "blank lines alone": ("e.json", ["", ""], IdsError, "holds no labels"),
    "del without a tab": ("e.del", "0\ta\n1 b\n", CheckpointError, "row 2: expected id<TAB>label; got '1 b'"),
    "dict without ids": ("e.dict", "a\tx\nb\ty\n", IdsError, "row 1: ids are integers; got 'a'"),
    "csv of two texts": ("e.csv", "a,x\nb,y\n", IdsError, "row 1: ids are integers; got 'a'"),
    "csv of three columns": ("e.csv", "a,b,c\n1,2,3\n", CheckpointError, "row 1: expected id,label; got 'a\\tb\\tc'"),
    "csv with a short row": ("e.csv", "id,label\n0,a\n1\n", CheckpointError, "row 3: expected id,label; got '1'"),
    "csv with a word for an id": ("e.csv", "id,label\n0,a\nx,b\n", IdsError, "row 2: ids are integers; got 'x'"),
    "csv with an open quote": ("e.csv", '0,"x\n', CheckpointError, "is no table of id,label"),
    "npy that is none": ("e.npy", b"0\ta\n", CheckpointError, "is no array that NumPy saved"),
    "npy without a header": ("e.npy", b"\x93NUMPY\x01\x00", CheckpointError, "its header cannot be read"),
    "npy of objects": ("e.npy", npy("|O", (2,), b"\x80\x04."), CheckpointError, "holds an array of '|O', and labels"),
    "npy of numbers": ("e.npy", npy("<i8", (1,), bytes(8)), CheckpointError, "holds an array of '<i8', and labels"),
    "npy of two axes": ("e.npy", npy("|S1", (1, 2), b"ab"), CheckpointError, "holds an array of shape (1, 2)"),
    "npy cut short": ("e.npy", npy("|S2", (9,), b"ab"), CheckpointError, "holds 2 bytes of labels, and its header 18"),
    "npy that calls": (
        "e.npy",
        b"\x93NUMPY\x01\x00\x10\x00exit()          ",
        CheckpointError,
        "its header cannot be read",
    ),
    "tsv without a tab": ("e.tsv", "id\tlabel\n0 x\n", CheckpointError, "row 2: expected id<TAB>label; got '0 x'"),
    "tsv of three columns": ("e.tsv", "0\tx\ty\n", CheckpointError, "row 1: expected id<TAB>label"),
    "tsv with a blank row": ("e.tsv", "0\tx\n\n1\ty\n", CheckpointError, "row 2: expected id<TAB>label; got ''"),
    "tsv with a fraction": ("e.tsv", "0\tx\n1.0\ty\n", IdsError, "row 2: ids are integers; got '1.0'"),
    "tsv with a digit of another script": ("e.tsv", "\u0660\tx\n", IdsError, "row 1: ids are integers"),
    "tsv with an id twice": ("e.tsv", "0\tx\n1\ty\n1\tz\n", IdsError, "gives id 1 twice"),
    "tsv with a negative id": ("e.tsv", "0\tx\n-4\ty\n", IdsError, "must not be negative; 'y' has -4"),
    "tsv with an open quote": ("e.tsv", '0\t"x\n1\ty\n', CheckpointError, "is no table of id<TAB>label"),
}


@pytest.mark.parametrize(("name", "content", "exception", "message"), WRONG_LABELS.values(), ids=WRONG_LABELS)
def test_read_labels_refuses_what_is_not_what_it_says(
    tmp_path: Path, name: str, content: Any, exception: type[EmbcompressError], message: str
) -> None:
    """A file that its name or its form belies is refused with its path and the row, id or label that is wrong."""
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write_content(path, content)
    with pytest.raises(exception) as caught:
        read_labels(path)
    assert str(path) in caught.value.message
    assert message in caught.value.message


REMARKS: dict[str, tuple[str, str | bytes | object, list[str]]] = {
    "one a line": ("e.txt", "a\nb\n", []),
    "id and label": ("e.tsv", "id\tlabel\n0\ta\n", []),
    "tokenizer": ("tokenizer.json", TOKENIZER, []),
    "sentencepiece": ("m.vocab", "<unk>\t0\na\t-3.25\n", ["m.vocab was read as piece and score"]),
    "fairseq": ("dict.txt", "the 51\nof 48\n", ["dict.txt was read as token and count"]),
    "OpenKE": ("entity2id.txt", "2\na\t0\nb\t1\n", ["entity2id.txt was read as label and id"]),
    "a column": ("e.csv", "item,year\na,1\n", ["e.csv was read as the column 'item', in the order of the rows"]),
    "columns": ("e.csv", "idx,year,name\n0,1,a\n", ["e.csv was read as ids in the column 'idx', labels in 'name'"]),
    "holes": ("e.tsv", "0\tx\n3\ty\n1\tz\n", ["e.tsv: 1 of 4 ids have no label, the first is 2"]),
    "bytes": (
        "e.txt",
        b"a\ncaf\xe9\n",
        ["e.txt: 1 of 2 labels are not UTF-8, and their other bytes are written as \\xff"],
    ),
    "half a character": (
        "e.json",
        '["a", "\\udc80"]',
        ["e.json: 1 of 2 labels are not UTF-8, and their other bytes are written as \\xff"],
    ),
}


@pytest.mark.parametrize(("name", "content", "expected"), REMARKS.values(), ids=REMARKS)
def test_read_label_file_tells_what_it_was_taken_for(
    tmp_path: Path, name: str, content: Any, expected: list[str]
) -> None:
    """A form that is guessed from the lines, and labels that are odd or missing, are told; a form by name is not."""
    assert list(read_label_file(write_content(tmp_path / name, content)).warnings) == expected


def test_read_labels_reads_parquet(tmp_path: Path) -> None:
    """A column of labels beside vectors, by its ids or in the order of the rows; blank where there is none."""
    reason = "pyarrow is not installed: pip install 'embcompress[parquet]'"
    arrow, parquet = (pytest.importorskip(name, reason=reason) for name in ("pyarrow", "pyarrow.parquet"))
    path = tmp_path / "items.parquet"
    vectors = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    parquet.write_table(arrow.table({"id": [2, 0, 1], "vector": vectors, "item": ["c", "a", None]}), path)
    assert read_labels(path) == ["a", "", "c"]
    parquet.write_table(arrow.table({"token": ["b", "é", "a"], "vector": vectors}), path)
    assert read_labels(path) == ["b", "é", "a"]
    parquet.write_table(arrow.table({"x": ["b", "c"], "y": [1, 2]}), path)
    with pytest.raises(CheckpointError, match=r"has the columns 'x', 'y', and none is called label"):
        read_labels(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="cannot be read as Parquet"):
        read_labels(path)


def test_read_labels_holds_no_vectors_of_parquet(tmp_path: Path) -> None:
    """Labels of more rows than a batch are read without the vectors beside them, which take 8 MB."""
    reason = "pyarrow is not installed: pip install 'embcompress[parquet]'"
    arrow, parquet = (pytest.importorskip(name, reason=reason) for name in ("pyarrow", "pyarrow.parquet"))
    path, rows = tmp_path / "items.parquet", LABEL_ROWS + 10
    vectors = arrow.FixedSizeListArray.from_arrays(arrow.array(torch.randn(rows * 32).numpy()), 32)
    parquet.write_table(arrow.table({"vector": vectors, "label": [f"{row % 7}" for row in range(rows)]}), path)
    assert path.stat().st_size > 8 * 10**6
    read_labels(path)  # what is imported and cached on the way is not the file's
    tracemalloc.start()
    labels = read_labels(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert labels == [f"{row % 7}" for row in range(rows)]
    assert peak < 6 * 10**6


def test_read_labels_names_what_reads_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow the refusal says how to install it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(CheckpointError, match=r"is not installed.*pip install 'embcompress\[parquet\]'"):
        read_labels(write_content(tmp_path / "items.parquet", b"PAR1"))


ID_FORMS: dict[str, tuple[str, str | object, list[int]]] = {
    "lines": ("i.txt", "5\n0\n17\n", [5, 0, 17]),
    "lines without the last newline": ("i", "5\n0", [5, 0]),
    "lines from Windows": ("i.txt", "\ufeff5\r\n0\r\n", [5, 0]),
    "lines, packed": ("i.txt.gz", "5\n0\n", [5, 0]),
    "lines with spaces and zeros": ("i.txt", " 5\n007 \n", [5, 7]),
    "JSON": ("i.json", [5, 0, 2**62], [5, 0, 2**62]),
    "negative ones, which placing refuses": ("i.txt", "-5\n0\n", [-5, 0]),
    "none": ("i.txt", "", []),
}


@pytest.mark.parametrize(("name", "content", "expected"), ID_FORMS.values(), ids=ID_FORMS)
def test_read_ids_gives_them_in_the_order_of_the_rows(
    tmp_path: Path, name: str, content: Any, expected: list[int]
) -> None:
    """Item j of every form is the id of row j: nothing is sorted."""
    assert read_ids(write_content(tmp_path / name, content)) == array("q", expected)


WRONG_IDS: dict[str, tuple[str, str | bytes | object, type[EmbcompressError], str]] = {
    "fraction": ("i.txt", "0\n1.0\n", IdsError, "line 2: ids are integers, one a line; got '1.0'"),
    "text": ("i.txt", "0\nx\n", IdsError, "line 2: ids are integers, one a line; got 'x'"),
    "blank line": ("i.txt", "0\n\n1\n", IdsError, "line 2: ids are integers"),
    "two minuses": ("i.txt", "--1\n", IdsError, "line 1: ids are integers"),
    "superscript": ("i.txt", "²\n", IdsError, "line 1: ids are integers"),
    "underscore, which int() takes": ("i.txt", "1_0\n", IdsError, "line 1: ids are integers"),
    "tsv": ("i.tsv", "0\tx\n", IdsError, "line 1: ids are integers"),
    "JSON fraction": ("i.json", [0, 1.0], IdsError, "item 2: ids are integers; got 1.0"),
    "JSON true": ("i.json", [True], IdsError, "item 1: ids are integers; got True"),
    "JSON null": ("i.json", [None], IdsError, "item 1: ids are integers; got None"),
    "JSON object": ("i.json", {"a": 0}, CheckpointError, "holds no list of ids"),
    "JSON that is none": ("i.json", "0\n1\n", CheckpointError, "is no JSON"),
    "beyond 2^63": ("i.txt", f"0\n{2**63}\n", IdsError, "an id beyond 2^63"),
    "below -2^63 in JSON": ("i.json", [-(2**63) - 1], IdsError, "beyond 2^63"),
    "binary": ("i.txt", b"\x80", CheckpointError, "is no text in UTF-8: byte 0 is 0x80"),
    "gz that is no gzip": ("i.gz", b"0\n1\n", CheckpointError, "is named .gz and is not packed by gzip"),
}


@pytest.mark.parametrize(("name", "content", "exception", "message"), WRONG_IDS.values(), ids=WRONG_IDS)
def test_read_ids_refuses_what_is_no_integer(
    tmp_path: Path, name: str, content: Any, exception: type[EmbcompressError], message: str
) -> None:
    """Whatever is no integer is refused with the file and the line."""
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else write_content(path, content)
    with pytest.raises(exception) as caught:
        read_ids(path)
    assert str(path) in caught.value.message
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("items.tsv", "b\t2\na\t1\nc\t3\n", ["", "a", "b", "c"]),
        ("gaps.tsv", "a\t0\nb\t1\nd\t3\ne\t4\n", ["a", "b", "", "d", "e"]),
        ("systems.txt", "Windows 10\nUbuntu 20\nFedora 30\nDebian 11\n", None),
        ("falling.txt", "4\n3\n2\n1\n", None),
        ("dict.txt", "the 900\nof 30\ncat 1\n", ["the", "of", "cat"]),
    ],
)
def test_ids_are_no_counts(tmp_path: Path, name: str, content: str, expected: list[str] | None) -> None:
    """Ids in any order, with holes or from 1 on, place the labels; labels that end in a number stay whole."""
    path = tmp_path / name
    path.write_text(content)
    assert read_labels(path) == (content.splitlines() if expected is None else expected)
