"""Files of ids and labels in every form, and what is wrong with them by name."""

from __future__ import annotations

import gzip
import json
import random
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from embcompress.exceptions import CheckpointError, EmbcompressError, IdsError
from embcompress.tables.labels import read_ids, read_labels

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


def write(path: Path, content: str | bytes | object) -> Path:
    """Write text or bytes as they are, anything else as JSON; packed where the name ends in .gz."""
    text = content if isinstance(content, (str, bytes)) else json.dumps(content)
    raw = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def one_a_line(labels: Sequence[str]) -> str:
    """Join labels by newlines, with one at the end."""
    return "".join(f"{label}\n" for label in labels)


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
    "tokenizer.json without added tokens": ("t.json", {"model": {"vocab": {"b": 1, "a": 0}}}, ["a", "b"]),
}


@pytest.mark.parametrize(("name", "content", "expected"), FORMS.values(), ids=FORMS)
def test_read_labels_gives_them_in_the_order_of_their_ids(
    tmp_path: Path, name: str, content: Any, expected: list[str]
) -> None:
    """Every form gives the same labels, each at the place of its id, whatever characters it holds."""
    assert read_labels(write(tmp_path / name, content)) == expected


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
    assert read_labels(write(tmp_path / f"v.{form}", content)) == expected


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
    "binary": ("e.txt", b"ab\xff\xfe", CheckpointError, "is no text in UTF-8: byte 2 is 0xff"),
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
    "JSON with a gap": ("e.json", {"a": 0, "b": 2}, IdsError, "has no label for id 1; ids must be 0..1, each once"),
    "JSON with an id twice": ("e.json", {"a": 0, "b": 1, "c": 1}, IdsError, "gives id 1 twice, also to 'c'"),
    "JSON with a negative id": ("e.json", {"a": 0, "b": -1}, IdsError, "must not be negative; 'b' has -1"),
    "JSON list with a label twice": ("e.json", ["x", "y", "x"], IdsError, "gives a label to several ids: 'x'"),
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
        "has no label for id 1",
    ),
    "tsv without a tab": ("e.tsv", "id\tlabel\n0 x\n", CheckpointError, "row 2: expected id<TAB>label; got '0 x'"),
    "tsv of three columns": ("e.tsv", "0\tx\ty\n", CheckpointError, "row 1: expected id<TAB>label"),
    "tsv with a blank row": ("e.tsv", "0\tx\n\n1\ty\n", CheckpointError, "row 2: expected id<TAB>label; got ''"),
    "tsv the other way round": ("e.tsv", "x\t0\n", IdsError, "row 1: ids are integers; got 'x'"),
    "tsv with a fraction": ("e.tsv", "0\tx\n1.0\ty\n", IdsError, "row 2: ids are integers; got '1.0'"),
    "tsv with a digit of another script": ("e.tsv", "\u0660\tx\n", IdsError, "row 1: ids are integers"),
    "tsv with a gap": ("e.tsv", "0\tx\n3\ty\n1\tz\n", IdsError, "has no label for id 2; ids must be 0..2, each once"),
    "tsv from 1": ("e.tsv", "1\tx\n2\ty\n", IdsError, "has no label for id 0"),
    "tsv with an id twice": ("e.tsv", "0\tx\n1\ty\n1\tz\n", IdsError, "gives id 1 twice"),
    "tsv with a negative id": ("e.tsv", "0\tx\n-4\ty\n", IdsError, "must not be negative; 'y' has -4"),
    "tsv with a label twice": ("e.tsv", "0\tx\n1\ty\n2\tx\n", IdsError, "gives a label to several ids: 'x'"),
    "tsv with an open quote": ("e.tsv", '0\t"x\n1\ty\n', CheckpointError, "is no table of id<TAB>label"),
    "lines with a label twice": ("e.txt", "x\ny\nx\nz\nz\n", IdsError, "gives a label to several ids: 'x', 'z'"),
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
        write(path, content)
    with pytest.raises(exception) as caught:
        read_labels(path)
    assert str(path) in caught.value.message
    assert message in caught.value.message


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
    assert read_ids(write(tmp_path / name, content)) == array("q", expected)


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
    path.write_bytes(content) if isinstance(content, bytes) else write(path, content)
    with pytest.raises(exception) as caught:
        read_ids(path)
    assert str(path) in caught.value.message
    assert message in caught.value.message
