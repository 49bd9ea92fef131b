"""Row weights read from files in every form, and what is wrong with them by name."""

from __future__ import annotations

import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest

from embcompress.exceptions import CheckpointError, EmbcompressError, IdsError
from embcompress.tables.row_weights import read_row_weights
from tests.fixtures import write_content

LABELS = ["a", "b c", "7", "", 'say "hi"']


FORMS: dict[str, tuple[str, Any, list[float]]] = {
    "one a line": ("w.txt", "3\n0\n1.5\n", [3, 0, 1.5]),
    "one a line, no last newline": ("counts", "3\n0\n1e3", [3, 0, 1000]),
    "one a line, packed": ("w.txt.gz", "3\n4\n", [3, 4]),
    "one a line, from Windows": ("w.csv", "\ufeff3\r\n4\r\n", [3, 4]),
    "one a line under a header": ("w.csv", "Count\n3\n4\n", [3, 4]),
    "ids": ("w.tsv", "2\t5\n0\t3\n1\t0.25\n", [3, 0.25, 5]),
    "ids under a header": ("w.tsv", "id\tfrequency\n1\t4\n0\t3\n", [3, 4]),
    "ids, packed": ("W.TSV.gz", "id\tcount\n1\t4\n0\t3\n", [3, 4]),
    "JSON list": ("w.json", [3, 0.5, 1e300], [3, 0.5, 1e300]),
    "JSON list, packed": ("w.json.gz", [3, 4], [3, 4]),
    "JSON from id": ("w.json", {"1": 4, "0": 3}, [3, 4]),
}


@pytest.mark.parametrize(("name", "content", "expected"), FORMS.values(), ids=FORMS)
def test_read_row_weights_gives_them_in_the_order_of_the_ids(
    tmp_path: Path, name: str, content: Any, expected: list[float]
) -> None:
    """Every form gives the same numbers, each at the place of its id, also where the number of rows is known."""
    path = write_content(tmp_path / name, content)
    for rows in (None, len(expected)):
        assert read_row_weights(path, rows=rows).values == array("d", expected)


LABELLED: dict[str, tuple[str, Any, list[float], int]] = {
    "pairs": ("w.tsv", 'b c\t2\na\t1\n7\t3\n\t4\n"say ""hi"""\t5\n', [1, 2, 3, 4, 5], 0),
    "pairs under a header": ("w.tsv", "label\tcount\n7\t3\na\t9\n", [9, 3, 3, 3, 3], 3),
    "a count of 0": ("w.tsv", "7\t0\na\t9\nb c\t2\n", [9, 2, 0, 2, 2], 2),
    "ids, as the header says": ("w.tsv", "id\tcount\n3\t3\n0\t1\n", [1, 1, 1, 3, 1], 3),
    "JSON from label": ("w.json", {"7": 3, 'say "hi"': 5}, [3, 3, 3, 3, 5], 3),
    "JSON list": ("w.json", [5, 4, 3, 2, 1], [5, 4, 3, 2, 1], 0),
    "one a line": ("w.txt", "5\n4\n3\n2\n1\n", [5, 4, 3, 2, 1], 0),
    "csv": ("w.csv", 'label,count\n"b c",2\na,9\n', [9, 2, 2, 2, 2], 3),
    "a dictionary of fairseq": ("dict.txt", "a 9\nb c 2\n7 4\n", [9, 2, 4, 2, 2], 2),
    "a dictionary parted by tabs": ("dict.txt", "a\t9\nb c\t2.5\n", [9, 2.5, 2.5, 2.5, 2.5], 3),
}


@pytest.mark.parametrize(("name", "content", "expected", "missing"), LABELLED.values(), ids=LABELLED)
def test_read_row_weights_finds_labels(
    tmp_path: Path, name: str, content: Any, expected: list[float], missing: int
) -> None:
    """Numbers beside labels go to the ids of those, also where a label looks like an id.

    Labels without a number weigh the least of those that are above 0.
    """
    path = write_content(tmp_path / name, content)
    for rows in (None, 5):
        actual = read_row_weights(path, labels=LABELS, rows=rows)
        assert actual.values == array("d", expected)
        assert (actual.missing, actual.least, actual.warnings) == (missing, min(filter(None, expected)), ())


def test_read_row_weights_passes_over_labels_that_are_not_known(tmp_path: Path) -> None:
    """Up to nine tenths of the labels may be unknown, and their number is told; rows of one label weigh the same."""
    counts = "a\t7\nx\t1\n" + "".join(f"y{number}\t2\n" for number in range(8))
    actual = read_row_weights(write_content(tmp_path / "w.tsv", counts), labels=["a", "b", "a"])
    assert actual.values == array("d", [7, 7, 7])
    assert actual.warnings == ("w.tsv: 9 of 10 labels are not among --labels, and were passed over",)
    with pytest.raises(IdsError, match=r"weighs 10 of 11 labels that --labels lacks: 'x', .* and 5 more\. Check that"):
        read_row_weights(write_content(tmp_path / "w.tsv", f"{counts}z\t1\n"), labels=["a"])


def test_read_row_weights_of_more_rows_than_labels(tmp_path: Path) -> None:
    """By label there is a weight for each label, by id for each row; a list has one for each of either."""
    labels, rows = ["a", "b"], 4
    of_labels = read_row_weights(write_content(tmp_path / "w.tsv", "b\t3\n"), labels=labels, rows=rows)
    assert (of_labels.values, of_labels.missing) == (array("d", [3, 3]), 1)
    by_id = read_row_weights(write_content(tmp_path / "w.tsv", "id\tcount\n3\t2\n1\t5\n"), labels=labels, rows=rows)
    assert (by_id.values, by_id.missing) == (array("d", [2, 5, 2, 2]), 2)
    for values in ([1, 2], [1, 2, 3, 4]):
        path = write_content(tmp_path / "w.json", values)
        assert read_row_weights(path, labels=labels, rows=rows).values == array("d", values)
    with pytest.raises(IdsError, match="holds 3 weights, and there are 2 labels"):
        read_row_weights(write_content(tmp_path / "w.json", [1, 2, 3]), labels=labels, rows=rows)


@pytest.mark.parametrize(("name", "content"), [("w.tsv", "3\t2\n1\t7\n"), ("w.json", {"3": 2, "1": 7})])
def test_read_row_weights_fills_up_where_the_rows_are_known(tmp_path: Path, name: str, content: Any) -> None:
    """Ids without a number weigh the least if it is known how many there are; else they are missed."""
    path = write_content(tmp_path / name, content)
    actual = read_row_weights(path, rows=5)
    assert (actual.values, actual.missing, actual.least) == (array("d", [2, 7, 2, 2, 2]), 3, 2)
    with pytest.raises(IdsError, match=r"holds 2 weights: their ids must be 0\.\.1; got 3\. Give every id a weight"):
        read_row_weights(path)


WRONG: dict[str, tuple[str, Any, type[EmbcompressError], str]] = {
    "no file": ("no.txt", None, CheckpointError, "no.txt does not exist"),
    "binary": ("w.txt", b"1\0\xff", CheckpointError, "is no text in UTF-8"),
    "a byte that is no text": ("w.txt", b"1\n\xff", IdsError, r"line 2: a weight is a finite number, .*xff"),
    "empty": ("w.txt", "", IdsError, "w.txt gives no row a weight above 0"),
    "header alone": ("w.tsv", "id\tcount\n", IdsError, "w.tsv gives no row a weight above 0"),
    "all zero": ("w.txt", "0\n0.0\n-0\n", IdsError, "w.txt gives no row a weight above 0"),
    "negative": ("w.txt", "1\n-2\n", IdsError, "w.txt, line 2: a weight is a finite number, 0 or larger; got '-2'"),
    "NaN": ("w.txt", "1\nnan\n", IdsError, "line 2: a weight is a finite number, 0 or larger; got 'nan'"),
    "infinite": ("w.txt", "inf\n", IdsError, "line 1: a weight is a finite number, 0 or larger; got 'inf'"),
    "too large": ("w.txt", "1e999\n", IdsError, "line 1: a weight is a finite number, 0 or larger; got '1e999'"),
    "word": ("w.txt", "count\n1\nmany\n", IdsError, "line 3: a weight is a finite number, 0 or larger; got 'many'"),
    "grouped": ("w.txt", "1_000\n", IdsError, "line 1: a weight is a finite number, 0 or larger; got '1_000'"),
    "blank line": ("w.txt", "1\n\n2\n", IdsError, "line 2: a weight is a finite number, 0 or larger; got ''"),
    "pairs under another name": ("w.txt", "0\t5\n", IdsError, "line 1: .*got '0\\\\t5'. Name a table of id<TAB>count"),
    "unknown header": ("w.tsv", "token\tfreq\nx\t1\n", IdsError, "row 1: .* got 'freq'. A header is id<TAB>count or"),
    "one column": ("w.tsv", "5\n4\n", CheckpointError, "row 1: expected id<TAB>count or label<TAB>count; got '5'"),
    "three columns": ("w.tsv", "0\t5\n1\t2\t3\n", CheckpointError, "row 2: expected id<TAB>count or label<TAB>count"),
    "open quote": ("w.tsv", '0\t"5\n', CheckpointError, "is no table of id<TAB>count or label<TAB>count"),
    "word in a pair": ("w.tsv", "0\t5\n1\tx\n", IdsError, "row 2: a weight is a finite number, 0 or larger; got 'x'"),
    "id that is none": ("w.tsv", "a\t5\nb\t2\n", IdsError, "ids are integers; got 'a', 'b'. Give --labels FILE"),
    "labels under a header": ("w.tsv", "label\tcount\na\t2\n", IdsError, "weighs labels, and nothing tells their ids"),
    "id twice": ("w.tsv", "0\t5\n0\t2\n", IdsError, "w.tsv gives several weights to '0'"),
    "id twice, spelled apart": ("w.json", {"1": 5, "01": 2}, IdsError, "w.json gives several weights to '01'"),
    "negative id": ("w.tsv", "0\t5\n-1\t2\n", IdsError, r"their ids must be 0\.\.1; got -1"),
    "id beyond": ("w.tsv", "0\t5\n9\t2\n", IdsError, r"their ids must be 0\.\.1; got 9"),
    "JSON that is none": ("w.json", "1\n2\n", CheckpointError, "w.json is no JSON"),
    "JSON number": ("w.json", "1", CheckpointError, "holds neither a list of numbers nor an object"),
    "JSON key twice": ("w.json", '{"0": 1, "0": 2}', IdsError, "several weights are given to '0'"),
    "JSON text": ("w.json", [1, "2"], IdsError, "w.json, item 2: a weight is a finite number, 0 or larger; got '2'"),
    "JSON true": ("w.json", [True], IdsError, "item 1: a weight is a finite number, 0 or larger; got True"),
    "JSON null": ("w.json", {"0": None}, IdsError, "w.json, '0': a weight is a finite number, 0 or larger; got None"),
    "JSON NaN": ("w.json", "[NaN]", IdsError, "item 1: a weight is a finite number, 0 or larger; got nan"),
    "JSON beyond float64": ("w.json", f"[1{'0' * 400}]", IdsError, "item 1: a weight is a finite number"),
    "nested": ("w.json", [[1]], IdsError, r"item 1: a weight is a finite number, 0 or larger; got \[1\]"),
}


@pytest.mark.parametrize(("name", "content", "kind", "message"), WRONG.values(), ids=WRONG)
def test_read_row_weights_refuses(
    tmp_path: Path, name: str, content: Any, kind: type[EmbcompressError], message: str
) -> None:
    """Every file that does not say what each row weighs is refused by name and place."""
    path = tmp_path / name if content is None else write_content(tmp_path / name, content)
    with pytest.raises(kind, match=message):
        read_row_weights(path)


WRONG_ROWS: dict[str, tuple[str, Any, dict[str, Any], str]] = {
    "too few": ("w.txt", "1\n2\n", {"rows": 3}, "w.txt holds 2 weights, and there are 3 rows"),
    "too many": ("w.json", [1, 2], {"rows": 1}, "w.json holds 2 weights, and there are 1 rows"),
    "not one a label": ("w.txt", "1\n2\n", {"labels": ["a"]}, "w.txt holds 2 weights, and there are 1 labels"),
    "id beyond": ("w.tsv", "7\t1\n3\t1\n", {"rows": 3}, r"their ids must be 0\.\.2; got 7, 3"),
    "many unknown": ("w.json", {f"x{n}": n for n in range(9)}, {"labels": ["a"]}, "lacks: 'x0', .*'x4' and 4 more"),
    "ids for labels": ("w.json", {"0": 1}, {"labels": ["a"]}, "lacks: '0'. A table of id<TAB>count says so in its hea"),
    "label twice": ("w.tsv", "a\t1\na\t2\n", {"labels": ["a"]}, "gives several weights to 'a'"),
    "all zero": ("w.tsv", "label\tcount\na\t0\n", {"labels": ["a"]}, "gives no row a weight above 0"),
}


@pytest.mark.parametrize(("name", "content", "known", "message"), WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_read_row_weights_refuses_other_rows(
    tmp_path: Path, name: str, content: Any, known: dict[str, Any], message: str
) -> None:
    """Weights that do not belong to the rows or labels that are known are refused."""
    with pytest.raises(IdsError, match=message):
        read_row_weights(write_content(tmp_path / name, content), **known)


def test_row_weights_are_read_without_torch() -> None:
    """Reading a file of numbers does not import torch, which takes seconds."""
    code = "import sys, embcompress.tables.row_info; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
