"""Tensors cut into several: joined by name, and refused where a part is missing or does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from embcompress import approximate
from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.files import Files
from embcompress.checkpoints.pieces import join
from embcompress.checkpoints.tensors import Piece, StoredTensor, contiguous_strides
from embcompress.exceptions import DamagedFileError
from embcompress.tables.rows import StoredRows, TableRows, read_bytes

NAME = "model.ngram_embedding.weight"
TABLE = torch.randn(1000, 24, generator=torch.Generator().manual_seed(0))


def save(path: Path, tensors: dict[str, Tensor]) -> Path:
    """Write a safetensors file; each tensor gets memory of its own."""
    safetensors.torch.save_file({name: tensor.clone() for name, tensor in tensors.items()}, path)
    return path


def shards_of(table: Tensor, *, rows: int) -> dict[str, Tensor]:
    """Cut a table into shards, named as language models do."""
    return {f"model.ngram_embedding.shard_{i}.weight": part for i, part in enumerate(table.split(rows))}


@pytest.mark.parametrize("rows", [100, 333, 999])
def test_open_checkpoint_joins_shards_of_rows(tmp_path: Path, rows: int) -> None:
    """Eleven shards and more come in the order of their numbers, the last may be shorter, and all see one table."""
    path = save(tmp_path / "model.safetensors", {"norm": torch.ones(3), **shards_of(TABLE, rows=rows)})
    ids = torch.tensor([999, 0, 333, 332, 5])
    with open_checkpoint(path) as checkpoint:
        joined = {tensor.name: tensor for tensor in checkpoint.tensors}
        assert set(joined) == {"norm", NAME}
        stored = joined[NAME]
        assert (stored.shape, stored.dtype, stored.nbytes, stored.stored_bytes) == ((1000, 24), "float32", 96000, 96000)
        table = TableRows(stored, files=checkpoint.files)
        assert torch.cat([block.clone() for block in table.blocks()]).equal(TABLE)
        assert torch.cat([block.clone() for block in table.column_blocks()]).equal(TABLE.T)
        assert table.read(ids).equal(TABLE[ids])
        assert table.sample(100).equal(TABLE[table.sample_ids(100)])
        assert b"".join(map(bytes, read_bytes(stored, files=checkpoint.files))) == TABLE.numpy().tobytes()
        single = StoredRows(stored, files=checkpoint.files, folder=tmp_path)
        assert single.read(ids).view(torch.float32).equal(TABLE[ids])


def test_shards_give_the_same_artifact_as_one_table(tmp_path: Path) -> None:
    """Blocks begin at the same rows, so that bases and weights are equal to the bit."""
    table = torch.randn(30_000, 40, generator=torch.Generator().manual_seed(1))
    states, parts = [{NAME: table}, shards_of(table, rows=4099)], {f"{NAME}.bases", f"{NAME}.weights"}
    factors = []
    for number, state in enumerate(states):
        path = save(tmp_path / f"{number}.safetensors", state)
        output = path.with_suffix(".out")
        approximate(path, bases=4, neighbours=0, output=output, report=[tmp_path / f"{number}.json"])
        factors.append(safetensors.torch.load_file(output))
        assert factors[-1].keys() == parts
    assert all(factors[0][name].equal(factors[1][name]) for name in parts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({5: None}, "shard 5 is missing"),
        ({3: torch.zeros(100, 23)}, "shard_3.weight' in .* is float32 of rows \\(23,\\), and"),
        ({3: torch.zeros(100, 24).half()}, "shard_3.weight' in .* is float16"),
    ],
)
def test_open_checkpoint_refuses_shards_that_do_not_fit(
    tmp_path: Path, change: dict[int, Tensor | None], message: str
) -> None:
    """A gap, other columns or another dtype is told by the name of the shard."""
    shards = shards_of(TABLE, rows=100)
    for number, value in change.items():
        name = f"model.ngram_embedding.shard_{number}.weight"
        if value is None:
            del shards[name]
        else:
            shards[name] = value
    with pytest.raises(DamagedFileError, match=message):
        open_checkpoint(save(tmp_path / "model.safetensors", shards))


def test_open_checkpoint_refuses_a_doubled_shard(tmp_path: Path) -> None:
    """Two names of one number are not taken for two shards."""
    shards = shards_of(TABLE, rows=500) | {"model.ngram_embedding.shard_01.weight": TABLE[:500]}
    with pytest.raises(DamagedFileError, match=r"shard 1 of 'model\.ngram_embedding\.weight' twice"):
        open_checkpoint(save(tmp_path / "model.safetensors", shards))


@pytest.mark.parametrize("name", ["experts.shard_{}.weight", "emb.shard_{}.bias", "embeds.{}.weight"])
def test_open_checkpoint_leaves_other_numbered_tensors_apart(tmp_path: Path, name: str) -> None:
    """Experts, vectors and lists of tables are no shards."""
    tensors = {name.format(i): TABLE[0] if "bias" in name else TABLE for i in range(3)}
    with open_checkpoint(save(tmp_path / "model.safetensors", tensors)) as checkpoint:
        assert {tensor.name for tensor in checkpoint.tensors} == set(tensors)


def tensor_of(name: str, *, rows: int, columns: int, start: int = 0) -> StoredTensor:
    """Describe a dense float32 tensor."""
    return StoredTensor(name, "float32", (rows, columns), contiguous_strides((rows, columns)), start)


def test_join_reads_a_grid_of_pieces(tmp_path: Path) -> None:
    """Pieces of rows and columns, each stored by itself, come back as one table."""
    path, tiles = tmp_path / "tiles", []
    with path.open("wb") as file:
        for row, rows in ((0, 300), (300, 700)):
            for column, columns in ((0, 7), (7, 1), (8, 16)):
                start = file.tell()
                file.write(TABLE[row : row + rows, column : column + columns].contiguous().numpy().tobytes())
                tensor = tensor_of(f"{row},{column}", rows=rows, columns=columns, start=start)
                tiles.append(Piece(tensor, row, column, columns))
    stored = join("t", tiles[::-1], dtype="float32", shape=(1000, 24))
    with open(path, "rb", buffering=0) as file:
        table = TableRows(stored, files=Files.of(file))
        assert torch.cat([block.clone() for block in table.blocks()]).equal(TABLE)
        assert torch.cat([block.clone() for block in table.column_blocks()]).equal(TABLE.T)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([(0, 0, 4, 3), (5, 0, 5, 3)], "holds? 27 of its 10 x 3 entries; a piece is missing before 'b'"),
        ([(0, 0, 4, 3)], "a piece is missing at its end"),
        ([(0, 0, 6, 3), (5, 0, 5, 3)], "'b' and 'a', pieces of 't', overlap at row 5"),
        ([(0, 0, 10, 2), (0, 1, 10, 2)], "'b' and 'a', pieces of 't', overlap at row 0"),
        ([(0, 0, 10, 3), (10, 0, 1, 3)], "'b', a piece of 't', reaches to row 11"),
    ],
)
def test_join_refuses_gaps_and_overlaps(places: list[tuple[int, int, int, int]], message: str) -> None:
    """Each entry must be in one piece; the message names the piece that is not in its place."""
    pieces = [
        Piece(tensor_of("ab"[i], rows=rows, columns=columns), row, column, columns)
        for i, (row, column, rows, columns) in enumerate(places)
    ]
    with pytest.raises(DamagedFileError, match=message):
        join("t", pieces, dtype="float32", shape=(10, 3))
