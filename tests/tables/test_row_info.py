"""Row weights and labels of tables that have as many rows, or a few more."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from embcompress.checkpoints import open_checkpoint
from embcompress.exceptions import IdsError
from embcompress.tables.row_info import RowInfo, read_row_info
from embcompress.tables.selection import choose_tables
from embcompress.tables.table import Table


def facts_of(
    folder: Path, tensors: dict[str, torch.Tensor], *, labels: str | None = None, weights: str | None = None
) -> tuple[RowInfo, dict[str, Table]]:
    """Save tables and what is told of their rows, and read that."""
    save_file(tensors, folder / "model.safetensors")
    for name, text in (("labels.txt", labels), ("weights.tsv", weights)):
        if text is not None:
            (folder / name).write_text(text)
    with open_checkpoint(folder / "model.safetensors") as checkpoint:
        tables = choose_tables(checkpoint, table="*", exclude=())
        facts = read_row_info(
            row_weights=None if weights is None else folder / "weights.tsv",
            labels=None if labels is None else folder / "labels.txt",
            tables=lambda: tables,
            files=checkpoint.files,
        )
    return facts, {table.name: table for table in tables}


def test_labels_belong_to_tables_of_as_many_rows(tmp_path: Path) -> None:
    """Of tables that have as many rows, and not of one that has a row more."""
    tables = {"a": torch.ones(3, 2), "b": torch.ones(4, 2), "c": torch.ones(3, 5)}
    facts, by_name = facts_of(tmp_path, tables, labels="x\ny\nz\n", weights="label\tcount\nz\t4\nx\t8\n")
    assert [list(facts.labels_of(by_name[name])) for name in "abc"] == [["x", "y", "z"], [], ["x", "y", "z"]]
    assert [facts.weights_of(by_name[name]) for name in "abc"] == [
        pytest.approx([8, 4, 4]),
        None,
        pytest.approx([8, 4, 4]),
    ]
    assert [facts.unweighted_rows_of(by_name[name]) for name in "abc"] == [1, None, 1]
    assert facts.warnings == ()


def test_rows_beyond_the_last_label_have_none(tmp_path: Path) -> None:
    """They have no label and weigh the least, and the report is told which they are."""
    facts, by_name = facts_of(tmp_path, {"a": torch.ones(5, 2)}, labels="x\ny\n", weights="label\tcount\ny\t4\nx\t8\n")
    assert list(facts.labels_of(by_name["a"])) == ["x", "y", "", "", ""]
    assert facts.weights_of(by_name["a"]) == pytest.approx([8, 4, 4, 4, 4])
    assert facts.unweighted_rows_of(by_name["a"]) == 3
    assert facts.warnings == ("'a' has 5 rows and 2 labels, which were taken for those of rows 0..1",)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_first_row_of_zeros_has_no_label(tmp_path: Path, dtype: torch.dtype) -> None:
    """Of one row more than labels it is the first if that one is all zeros and the last is not."""
    values = torch.arange(8, dtype=dtype).view(4, 2)
    values[0] = 0
    facts, by_name = facts_of(tmp_path, {"a": values}, labels="x\ny\nz\n", weights="label\tcount\ny\t4\nx\t8\nz\t9\n")
    assert list(facts.labels_of(by_name["a"])) == ["", "x", "y", "z"]
    assert facts.weights_of(by_name["a"]) == pytest.approx([4, 8, 4, 9])
    assert facts.unweighted_rows_of(by_name["a"]) == 1
    assert facts.warnings == (
        "'a' has 4 rows and 3 labels: row 0 is all zeros, so the first label was taken for that of row 1",
    )
    values[3] = 0
    facts, by_name = facts_of(tmp_path, {"a": values}, labels="x\ny\nz\n")
    assert list(facts.labels_of(by_name["a"])) == ["x", "y", "z", ""]
    assert facts.warnings == ("'a' has 4 rows and 3 labels, which were taken for those of rows 0..2",)


@pytest.mark.parametrize(
    ("rows", "labels"),
    [((3,), 4), ((50,), 40), ((41, 42), 40)],
    ids=["fewer rows", "more than a few", "of two sizes that fit none is guessed"],
)
def test_labels_of_no_table_are_refused(tmp_path: Path, rows: tuple[int, ...], labels: int) -> None:
    """More labels than rows, far fewer, or a few fewer than tables of several sizes have."""
    tables = {f"t{number}": torch.ones(count, 2) for number, count in enumerate(rows)}
    with pytest.raises(
        IdsError, match=rf"--labels holds {labels} labels, and no chosen table has as many rows, or a f"
    ):
        facts_of(tmp_path, tables, labels="".join(f"label {number}\n" for number in range(labels)))


def test_weights_of_no_table_are_refused(tmp_path: Path) -> None:
    """A list belongs to the tables of as many rows; where none is left, the tables and their rows are named."""
    facts, by_name = facts_of(tmp_path, {"a": torch.ones(2, 2), "b": torch.ones(3, 2)}, weights="0\t1\n1\t2\n")
    assert facts.weights_of(by_name["a"]) == pytest.approx([1, 2])
    facts.check(list(by_name.values()), path="weights.tsv")
    with pytest.raises(IdsError, match=r"weights\.tsv holds 2 weights, and no table has as many rows: 'b: 3 rows'"):
        facts.check([by_name["b"]], path="weights.tsv")
