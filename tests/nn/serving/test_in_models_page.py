"""The page docs/in-models.md: its lines run, its table lists what is tried, and its numbers are so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import embcompress
from tests.fixtures import CompressSample, WordModel, load_module
from tests.nn.serving.architectures import ARCHITECTURES, TRIALS, serve

PAGE = (Path(__file__).parents[3] / "docs" / "in-models.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ENTITIES = "entity_representations.0._embeddings.weight"


def test_page_lists_every_architecture_and_trial() -> None:
    """The table has a row for each architecture and a column for each trial, and claims no more."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
    head = ["architecture", "apply", *TRIALS]
    first = rows.index(head) + 2
    table = {row[0]: row[1:] for row in rows[first : first + len(ARCHITECTURES)]}
    assert list(table) == list(ARCHITECTURES)
    for name, architecture in ARCHITECTURES.items():
        expected = dict.fromkeys(TRIALS, "yes") | ({} if architecture.generates else {"generate": "-"})
        assert table[name] == ["yes", *expected.values()]


def test_page_lines_run(compress_sample: CompressSample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of Python run as written, on the model of the words."""
    artifact = compress_sample("words/model.pt", bases=16).output.path
    (tmp_path / "model-16x.safetensors").symlink_to(artifact)
    monkeypatch.chdir(tmp_path)
    for code in (code for code in BLOCKS if "save_pretrained" not in code):
        names = {"torch": torch, "embcompress": embcompress, "Model": WordModel, "model": WordModel()}
        exec(code, names)
        assert names["model"].head.table is names["model"].embedding


@pytest.mark.clients
@pytest.mark.filterwarnings("ignore")
def test_page_lines_on_saving_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines on saving and loading run as written, and every model that they make scores as the one saved."""
    pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")
    architecture = ARCHITECTURES["GPT-2"]
    served = serve(architecture, tmp_path)
    monkeypatch.chdir(tmp_path)
    names = {"embcompress": embcompress, "model": served.model}
    names |= {name: architecture.make() for name in ("plain", "other")}
    (code,) = (code for code in BLOCKS if "save_pretrained" in code)
    exec(code, names)
    with torch.no_grad():
        expected = served.model(**served.inputs).logits
        for name in ("model", "dense", "plain", "other"):
            torch.testing.assert_close(names[name](**served.inputs).logits, expected, rtol=0, atol=1e-5)


def test_page_tells_the_error_of_constrained_rows(compress_sample: CompressSample) -> None:
    """The two errors of a model whose entities have unit length are those of the page."""
    result = compress_sample("kinships-transe/trained_model.pkl", bases=27)
    stored = next(table.error.relative for table in result.tables if table.name == ENTITIES)
    dense = dict(load_module(Path(result.input.path)).named_parameters())[ENTITIES].detach()
    rows = nn.functional.normalize(embcompress.load(result.output.path)[ENTITIES]().detach(), dim=1)
    served = float((rows - dense).norm() / dense.norm())
    assert f"relative error of {stored:.4f}" in PAGE.replace("\n", " ")
    assert f"one of {served:.4f}" in PAGE.replace("\n", " ")
