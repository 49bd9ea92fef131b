"""embcompress.save: an artifact of modules, as they are before and after training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import embcompress
from embcompress.exceptions import OutputError, TableError
from embcompress.nn import GrownRepresentation, LowRankRepresentation
from embcompress.nn.bilinear import LowRankBilinear
from tests.cases import for_each
from tests.fixtures import NAME, OPTIONS, Pair, draw, save, write_lines

DATA = Path(__file__).parents[1] / "data"


def rows_of(tables: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Decode all rows of tables."""
    with torch.no_grad():
        return {
            name: table.to_dense() if isinstance(table, LowRankBilinear) else table(None)
            for name, table in tables.items()
        }


def train(tables: Mapping[str, nn.Module]) -> None:
    """Move every parameter a little."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for table in tables.values():
            for parameter in table.parameters():
                parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))


@for_each("kind", list(OPTIONS))
def test_save_writes_untrained_tables_as_they_were(small_pairs: Mapping[str, Pair], tmp_path: Path, kind: str) -> None:
    """Factors, codes, index and codebook have the bytes of the artifact that they were loaded from."""
    path = tmp_path / f"{kind}.safetensors"
    assert embcompress.save(embcompress.load(small_pairs[kind].artifact), path).bytes == path.stat().st_size
    before, after = (safetensors.torch.load_file(one) for one in (small_pairs[kind].artifact, path))
    assert {name for name in after if not name.endswith(".weight")} < set(before)
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())


@for_each("kind", list(OPTIONS))
def test_save_writes_trained_tables(small_pairs: Mapping[str, Pair], tmp_path: Path, kind: str) -> None:
    """Loaded again they have the same rows to the bit, reconstruct gives these, verify passes; codes are unchanged."""
    tables = embcompress.load(small_pairs[kind].artifact)
    train(tables)
    path = tmp_path / f"{kind}.safetensors"
    assert embcompress.save(tables, path).rounded_tables == ()
    expected, loaded = rows_of(tables), embcompress.load(path)
    assert all(torch.equal(expected[name], rows) for name, rows in rows_of(loaded).items())
    dense = safetensors.torch.load_file(embcompress.reconstruct(path).output.path)
    for name, rows in expected.items():
        torch.testing.assert_close(dense[name], rows.view(dense[name].shape), rtol=0, atol=1e-5)
    assert all(check.passed for check in embcompress.verify(path).checks)
    if kind == "coded":
        before, after = (safetensors.torch.load_file(one) for one in (small_pairs[kind].artifact, path))
        assert torch.equal(before[f"{NAME}.codes"], after[f"{NAME}.codes"])
        ids = write_lines(tmp_path / "ids.txt", range(300))
        with pytest.raises(TableError, match="was trained after it was coded"):
            embcompress.backfill(path, max_id=301, base_ids=ids, output=tmp_path / "grown.safetensors")


def test_save_rounds_what_schema_1_holds_in_few_digits(tmp_path: Path) -> None:
    """Tables of schema 1 come back to the bit untrained; trained ones to the digits of bfloat16, and are named."""
    tables = embcompress.load(DATA / "coded-v1.safetensors")
    path = tmp_path / "again.safetensors"
    assert embcompress.save(tables, path).rounded_tables == ()
    expected = rows_of(tables)
    assert all(torch.equal(expected[name], rows) for name, rows in rows_of(embcompress.load(path)).items())
    train(tables)
    assert set(embcompress.save(tables, path, force=True).rounded_tables) == set(tables)
    for name, rows in rows_of(embcompress.load(path)).items():
        exact = rows_of(tables)[name]
        assert float((rows - exact).abs().max() / exact.abs().max()) < 2**-6


def test_save_writes_a_model_that_load_model_makes_again(tmp_path: Path) -> None:
    """Tables, ties and the rest of a trained model come back on meta; the original's names hold in evaluate."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.emb, self.mix, self.head = nn.Embedding(60, 12), nn.Linear(12, 12), nn.Linear(12, 60)
            self.head.weight = self.emb.weight

        def forward(self, ids: Tensor) -> Tensor:
            """Score all rows."""
            scores: Tensor = self.head(self.mix(self.emb(ids)))
            return scores

    model, ids = Model(), torch.tensor([[3, 0], [59, 3]])
    original = save(tmp_path / "model.pt", model.state_dict())
    embcompress.apply_to(model, embcompress.approximate(original, bases=3).output.path)
    train({"": model})
    path = tmp_path / "tuned.safetensors"
    embcompress.save(model, path)
    with pytest.raises(OutputError, match="exists"):
        embcompress.save(model, path)
    with torch.device("meta"):
        empty = Model()
    loaded = embcompress.load_model(empty, path)
    assert loaded.head.table is loaded.emb
    torch.testing.assert_close(loaded(ids), model(ids), rtol=0, atol=1e-6)
    (table,) = embcompress.evaluate(original, path, neighbours=0).tables
    assert (table.name, table.tied_names) == ("emb.weight", ("head.weight",))


def test_save_refuses_what_no_artifact_holds(tmp_path: Path) -> None:
    """A model without compressed tables, and a table with dense rows behind it."""
    with pytest.raises(TableError, match="no compressed table"):
        embcompress.save(nn.Embedding(3, 2), tmp_path / "none.safetensors")
    source = save(tmp_path / "model.safetensors", {NAME: draw(60, 12)})
    table = embcompress.load(embcompress.approximate(source, bases=3).output.path)[NAME]
    with pytest.raises(TableError, match="dense rows added behind it"):
        embcompress.save({NAME: GrownRepresentation(table, torch.ones(2, 12))}, tmp_path / "grown.safetensors")


def test_save_writes_factors_as_lookups_use_them(tmp_path: Path) -> None:
    """Normalizers of weights and of bases are worked in; one of rows, which no artifact holds, is refused."""
    table = LowRankRepresentation(
        max_id=40,
        shape=6,
        num_bases=3,
        generator=torch.Generator().manual_seed(0),
        base_kwargs={"normalizer": "normalize"},
        weight_kwargs={"normalizer": "softmax"},
    )
    embcompress.save({"a": table}, tmp_path / "a.safetensors")
    torch.testing.assert_close(embcompress.load(tmp_path / "a.safetensors")["a"]().detach(), table().detach())
    table = LowRankRepresentation(max_id=40, shape=6, num_bases=3, normalizer="normalize")
    with pytest.raises(TableError, match="table 'a' has a normalizer"):
        embcompress.save({"a": table}, tmp_path / "b.safetensors")
    assert not (tmp_path / "b.safetensors").exists()
