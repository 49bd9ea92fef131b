"""Hugging Face folders that grow: untied heads, their biases and vocab_size go with the embeddings."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import embcompress
from tests.cases import for_each
from tests.fixtures import draw_falling, write_lines

ROWS, DIM, MAX_ID = 150, 8, 155
IDS = [number + 3 for number in range(ROWS)]
NEW = [0, 1, 2, 153, 154]
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
CONFIG = {"vocab_size": ROWS, "eps": 1e-06, "text_config": {"vocab_size": ROWS, "n": 2}, "audio": {"vocab_size": ROWS}}


def tensors() -> dict[str, Tensor]:
    """Make a model with an untied head, with biases of both kinds, and with other tensors of as many entries."""
    return {
        EMBEDDINGS: draw_falling(ROWS, DIM),
        HEAD: draw_falling(ROWS, DIM, seed=1),
        "lm_head.bias": torch.tensor([-math.inf, *range(1, ROWS)], dtype=torch.bfloat16),
        "final_logits_bias": torch.arange(ROWS, dtype=torch.float32)[None],
        "mlp.bias": torch.ones(ROWS),
        "wpe.weight": draw_falling(ROWS // 3, DIM),
    }


def grow(folder: Path, *, config: dict[str, Any] = CONFIG, bases: int | None = None, **options: Any) -> Any:
    """Backfill a folder, compressed before if there are bases."""
    model = folder / "model"
    model.mkdir()
    save_file(tensors(), model / "model.safetensors", metadata={"format": "pt"})
    (model / "config.json").write_text(json.dumps(config))
    base = (
        model
        if bases is None
        else embcompress.approximate(model, table=[EMBEDDINGS, "wpe.weight"], bases=bases).output.path
    )
    return embcompress.backfill(base, max_id=MAX_ID, base_ids=write_lines(folder / "ids", IDS), **options)


@for_each("bases", [None, 3])
def test_heads_and_configuration_grow(tmp_path: Path, bases: int | None) -> None:
    """Rows and entries go to their ids; new entries are the mean, of BART's bias zeros; vocab_size is the new one."""
    (tmp_path / f"{bases}").mkdir()
    result = grow(tmp_path / f"{bases}", bases=bases)
    folder = Path(result.output.path)
    grown = load_file(folder / ("model.safetensors" if bases is None else "embcompress.safetensors"))
    original = tensors()
    assert [table.name for table in result.tables] == [EMBEDDINGS, HEAD]
    assert torch.equal(grown[HEAD][IDS], original[HEAD])
    assert torch.equal(grown["lm_head.bias"][IDS], original["lm_head.bias"])
    mean = original["lm_head.bias"][1:].double().mean()  # of the finite ones
    assert torch.equal(grown["lm_head.bias"][NEW], mean.to(torch.bfloat16).expand(len(NEW)))
    assert torch.equal(grown["final_logits_bias"][:, IDS], original["final_logits_bias"])
    assert torch.equal(grown["final_logits_bias"][:, NEW], torch.zeros(1, len(NEW)))
    assert torch.equal(grown["mlp.bias"], original["mlp.bias"])
    if bases is not None:
        # The mark of a table that does not grow is no tensor to copy.
        assert {name: table.max_id for name, table in embcompress.load(folder).items()} == {
            EMBEDDINGS: MAX_ID,
            "wpe.weight": ROWS // 3,
        }
        assert all(check.passed for check in embcompress.verify(folder).checks)
    # Names alone do not tell whose vocabulary another nested configuration has.
    expected = CONFIG | {"vocab_size": MAX_ID, "text_config": {"vocab_size": MAX_ID, "n": 2}}
    assert json.loads((folder / "config.json").read_text()) == expected
    assert set(result.notes) == {
        "'lm_head.weight' is a head that is not tied, and has new rows as the embeddings have",
        "the new entries of 'lm_head.bias' are the mean of the known ones",
        "the new entries of 'final_logits_bias' are zeros",
        "vocab_size in config.json is 155; it was 150",
    }
    assert all(warning.endswith("'mlp.bias'") for warning in result.warnings)


def test_configuration_that_cannot_be_changed_is_told(tmp_path: Path) -> None:
    """Another vocab_size stays, and so does a head then; beside a single file a warning says what it needs."""
    result = grow(tmp_path, config={"vocab_size": 151})
    assert [table.name for table in result.tables] == [EMBEDDINGS]
    assert json.loads((Path(result.output.path) / "config.json").read_text()) == {"vocab_size": 151}
    assert result.warnings[-1] == (
        "config.json has vocab_size 151, and 'model.embed_tokens.weight' had 150 rows: it was left as it is"
    )
    (tmp_path / "one").mkdir()
    alone = grow(tmp_path / "one", output=tmp_path / "one.safetensors")
    assert alone.warnings[-1] == "config.json of the model has vocab_size 150, and needs 155 beside the new file"


def test_tokens_whose_rows_moved_are_told(tmp_path: Path) -> None:
    """An id of a token in the configuration that another row has now is named; one that stays is not."""
    moved = next(index for index, new in enumerate(IDS) if index != new)
    result = grow(tmp_path, config=CONFIG | {"eos_token_id": moved, "bos_token_id": None, "sep_token_id": ROWS})
    told = f"config.json names tokens by ids that moved or went: eos_token_id {moved}. Change them there and in "
    assert f"{told}generation_config.json" in result.warnings


def test_fill_is_of_the_embeddings(tmp_path: Path) -> None:
    """Rows that a fill has for the embeddings alone are none of the head, whose new rows are drawn."""
    rows = torch.full((len(NEW), DIM), 7.0)
    save_file({"rows": rows}, tmp_path / "fill.safetensors")
    result = grow(tmp_path, fill=tmp_path / "fill.safetensors")
    grown = load_file(Path(result.output.path) / "model.safetensors")
    assert torch.equal(grown[EMBEDDINGS][NEW], rows)
    assert [table.method for table in result.tables] == ["fill", "gaussian"]
    assert float(grown[HEAD][NEW].abs().max()) < 7


@pytest.mark.parametrize("content", ["no JSON", "[]"])
def test_other_files_of_that_name_are_copied(tmp_path: Path, content: str) -> None:
    """A config.json that is no object of JSON stays as it is."""
    (tmp_path / "m").mkdir()
    save_file({"emb.weight": draw_falling(ROWS, DIM)}, tmp_path / "m" / "model.safetensors")
    (tmp_path / "m" / "config.json").write_text(content)
    result = embcompress.backfill(tmp_path / "m", max_id=MAX_ID, base_ids=write_lines(tmp_path / "ids", IDS))
    assert (Path(result.output.path) / "config.json").read_text() == content
    assert result.notes == ()
