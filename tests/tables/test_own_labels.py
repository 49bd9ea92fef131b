"""Labels that are found beside a model, through the commands that use them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import embcompress
from embcompress.checkpoints import open_checkpoint
from embcompress.report.document import document_of
from embcompress.report.github import annotate
from embcompress.results import ApproximateResult, EvaluateResult
from embcompress.tables.own_labels import add_own_labels
from embcompress.tables.row_info import RowInfo
from embcompress.tables.selection import choose_tables

TOKENIZER = {"model": {"vocab": {f"t{row}": row for row in range(30)}}, "added_tokens": [{"id": 30, "content": "[X]"}]}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Save a folder of two tables, 31 tokens in a tokenizer, and 30 in a vocabulary that lacks the added one."""
    folder = tmp_path / "model"
    folder.mkdir()
    draw = torch.Generator().manual_seed(0)
    tables = {name: torch.randn(rows, 6, generator=draw) for name, rows in (("word", 31), ("position", 12))}
    save_file({f"{name}_embeddings.weight": values for name, values in tables.items()}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (folder / "vocab.txt").write_text("".join(f"v{row}\n" for row in range(30)))
    return folder


def labels_of(result: ApproximateResult | EvaluateResult, name: str) -> set[tuple[int, str | None]]:
    """List ids and labels of the worst rows of a table."""
    (table,) = [table for table in result.tables if table.name == name]
    assert table.error is not None
    return {(row.id, row.label) for row in table.error.worst_rows}


def test_commands_take_labels_from_the_tokenizer_beside_a_model(model: Path) -> None:
    """The table of tokens gets them, that of positions none; both commands say where they come from."""
    made = embcompress.approximate(model, bases=2, neighbours=0)
    for result in (made, embcompress.evaluate(model, made.output.path, neighbours=0)):
        worst = labels_of(result, "word_embeddings.weight")
        assert worst == {(row, f"t{row}" if row < 30 else "[X]") for row, _ in worst}
        assert {label for _, label in labels_of(result, "position_embeddings.weight")} == {None}
        note = "labels of 'word_embeddings.weight' are those of tokenizer.json beside the model"
        assert (result.notes, result.warnings) == ((note,), ())
        assert annotate(result) == f"::notice title=embcompress {result.command}::{note}\n"
        assert [section.notes for section in document_of(result).sections if section.title == "Notes"] == [(note,)]
    dry = embcompress.approximate(model, bases=2, neighbours=0, dry_run=True, force=True)
    assert (dry.notes, dry.warnings) == (made.notes, ())


def test_labels_that_are_given_count_alone(model: Path) -> None:
    """Beside --labels the tokenizer is not read."""
    (model / "mine.txt").write_text("".join(f"m{row}\n" for row in range(31)))
    made = embcompress.approximate(model, bases=2, neighbours=0, labels=model / "mine.txt")
    worst = labels_of(made, "word_embeddings.weight")
    assert worst == {(row, f"m{row}") for row, _ in worst}
    assert (made.notes, made.warnings) == ((), ())


def own_labels(
    folder: Path, *, table: str = "*", format_labels: Mapping[str, Callable[[], list[str]]] | None = None
) -> RowInfo:
    """Find the labels of the tables of a folder, of which the format itself may tell some."""
    with open_checkpoint(folder) as opened:
        checkpoint = replace(opened, listing=replace(opened.listing, labels=format_labels or {}))
        return add_own_labels(RowInfo(), checkpoint, choose_tables(checkpoint, table=table, exclude=()))


def test_labels_of_the_first_file_that_fits_are_taken(model: Path) -> None:
    """A tokenizer of another size is passed over for a vocabulary; the rows behind its last label have none."""
    (model / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {f"t{row}": row for row in range(500)}}}))
    facts = own_labels(model)
    labels = facts.own_labels["word_embeddings.weight"]()
    assert list(labels) == [*(f"v{row}" for row in range(30)), ""]
    note = "labels of 'word_embeddings.weight' are those of vocab.txt beside the model; row 30 has none"
    assert (facts.notes, facts.warnings) == ((note,), ())


@pytest.mark.parametrize("count", [12, 40, 10], ids=["as many as positions", "more than rows", "far fewer"])
def test_labels_of_another_size_are_not_taken(model: Path, count: int) -> None:
    """They are no labels of tokens, and none of positions either."""
    (model / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {f"t{row}": row for row in range(count)}}}))
    (model / "vocab.txt").unlink()
    assert own_labels(model) == RowInfo()


def test_files_that_hold_no_labels_are_told_of(model: Path) -> None:
    """A damaged tokenizer does not end the run: the vocabulary is taken, and the reason is told."""
    (model / "tokenizer.json").write_text('{"model": ')
    facts = own_labels(model)
    assert list(facts.own_labels) == ["word_embeddings.weight"]
    assert facts.warnings[0].startswith("no labels were taken from the file beside the model: ")
    assert "tokenizer.json is no JSON" in facts.warnings[0]
    assert facts.notes[0].startswith("labels of 'word_embeddings.weight' are those of vocab.txt")


def test_labels_belong_to_the_tables_of_their_folder(tmp_path: Path) -> None:
    """Of two modules with as many rows each gets the labels beside it."""
    for index, name in enumerate(("0_StaticEmbedding", "1_StaticEmbedding")):
        (tmp_path / name).mkdir()
        save_file({"embedding.weight": torch.ones(20, 3) * (index + 1)}, tmp_path / name / "model.safetensors")
        (tmp_path / name / "vocab.json").write_text(json.dumps({f"{index}.{row}": row for row in range(20)}))
    facts = own_labels(tmp_path)
    assert {name: labels()[7] for name, labels in facts.own_labels.items()} == {
        "0_StaticEmbedding/embedding.weight": "0.7",
        "1_StaticEmbedding/embedding.weight": "1.7",
    }
    assert facts.notes[1] == (
        "labels of '1_StaticEmbedding/embedding.weight' are those of 1_StaticEmbedding/vocab.json beside the model"
    )


def test_labels_of_the_format_come_first(model: Path) -> None:
    """What the checkpoint itself tells of a table is taken without a word, and read when it is asked for."""
    format_labels = [f"own{row}" for row in range(31)]
    facts = own_labels(model, format_labels={"word_embeddings.weight": lambda: format_labels})
    assert facts.own_labels["word_embeddings.weight"]() is format_labels
    assert (facts.notes, facts.warnings) == ((), ())
