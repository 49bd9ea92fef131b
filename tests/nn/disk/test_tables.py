"""Tables whose rows stay on disk: rows and gradients as in memory, to the bit, and errors where the file is off."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import embcompress
from embcompress.exceptions import ArtifactError
from embcompress.linalg.blocks import BLOCK_ROWS
from embcompress.nn import (
    DiskCodedRepresentation,
    DiskLowRankRepresentation,
    DiskWindowCodedRepresentation,
    LowRankBilinear,
)
from tests.artifact.damage import edit_document
from tests.cases import for_each
from tests.fixtures import draw_falling, save

DATA = Path(__file__).parents[2] / "data"
# Of each committed artifact the class of its tables.
COMMITTED: Mapping[str, type[nn.Module]] = {
    "plain-v2": DiskLowRankRepresentation,
    "grown-v2": DiskLowRankRepresentation,
    "coded-v1": DiskWindowCodedRepresentation,
    "coded-v2": DiskCodedRepresentation,
    "grown-coded-v2": DiskCodedRepresentation,
    "grown-seekable-v2": DiskCodedRepresentation,
}
ONE_OF_EACH = ("plain-v2", "coded-v1", "coded-v2", "grown-seekable-v2")
NAME = "entity.weight"


def load_both(path: Path) -> list[tuple[Any, Any]]:
    """Load the tables of an artifact into memory, and with their rows on disk."""
    resident, on_disk = embcompress.load(path), embcompress.load(path, resident=False)
    assert list(resident) == list(on_disk)
    return [(resident[name], on_disk[name]) for name in resident]


def first_of(path: Path) -> Any:
    """Load the first table of an artifact with its rows on disk."""
    return next(iter(embcompress.load(path, resident=False).values()))


@pytest.fixture
def seekable(small_seekable: Path, tmp_path: Path) -> Path:
    """Copy a seekable artifact, to be damaged."""
    return Path(shutil.copy(small_seekable, tmp_path / "small.safetensors"))


@pytest.fixture(scope="module")
def small_seekable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compress 9000 rows, more than are decoded at once, some of them zeros."""
    folder = tmp_path_factory.mktemp("seekable")
    table = draw_falling(9000, 12) * (torch.arange(9000)[:, None] % 11 > 0)
    source = save(folder / "model.safetensors", {NAME: table})
    made = embcompress.approximate(source, ratio=8, effort="fast", seekable=True, neighbours=0)
    return Path(made.output.path)


@pytest.mark.parametrize("file", COMMITTED)
def test_rows_are_those_of_the_table_in_memory(file: str) -> None:
    """All rows, some in any order and several times, none, and scores are those of the same table in memory."""
    for resident, on_disk in load_both(DATA / f"{file}.safetensors"):
        assert type(on_disk) is COMMITTED[file]
        assert (on_disk.max_id, on_disk.shape, on_disk.dtype) == (resident.max_id, resident.shape, resident.dtype)
        ids = torch.randint(0, resident.max_id, (7, 50), generator=torch.Generator().manual_seed(0))
        for asked in (None, ids, ids.to(torch.int32), ids[:, ::3], ids[:0], torch.tensor(3)):
            assert torch.equal(on_disk(asked), resident(asked))
        query = resident(ids[0, :4]).detach()
        expected = resident.scores(query).detach()
        best, own_ids = on_disk.topk(query, 3)
        torch.testing.assert_close(best, on_disk.scores(query).sort(dim=-1, descending=True).values[..., :3])
        assert torch.equal(on_disk.scores(query).gather(-1, own_ids), best)
        rounding = 1e-2 if expected.dtype.itemsize == 2 else 1e-5  # of sums in other orders
        torch.testing.assert_close(
            on_disk.scores(query).detach(), expected, rtol=0, atol=rounding * float(expected.abs().max())
        )


def test_rows_of_many_blocks_are_those_in_memory(small_seekable: Path) -> None:
    """More rows than are decoded at once come in the order asked for, with and without gradients."""
    ((resident, on_disk),) = load_both(small_seekable)
    ids = torch.randint(0, 9000, (2 * BLOCK_ROWS + 5,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(on_disk(ids), resident(ids))
    with torch.no_grad():
        assert torch.equal(on_disk(ids), resident(ids))
        assert torch.equal(on_disk(None), resident(None))
    assert on_disk.strings.memory <= 0.3 * on_disk.max_id
    with pytest.raises(IndexError, match=r"0\.\.8999; got .*9000"):
        on_disk(torch.cat([torch.zeros(BLOCK_ROWS, dtype=torch.long), torch.tensor([9000])]))


@pytest.mark.parametrize("file", ONE_OF_EACH)
def test_gradients_are_those_of_the_table_in_memory(file: str) -> None:
    """Bases, scales, centers and levels get the gradients that they get in memory."""
    for resident, on_disk in load_both(DATA / f"{file}.safetensors"):
        ids, own = torch.tensor([3, 1, 3, 40]), dict(on_disk.named_parameters())
        for table in (resident, on_disk):
            rows = table(ids)
            (torch.view_as_real(rows) if rows.is_complex() else rows).float().square().sum().backward()
        trained = {name: one for name, one in resident.named_parameters() if name in own}
        assert own.keys() == trained.keys() == set(own)
        assert own.keys() >= {name for name, _ in resident.named_parameters()} - {"weights"}
        for name, parameter in trained.items():
            assert own[name].grad is not None
            assert torch.equal(own[name].grad, parameter.grad)


@pytest.mark.parametrize("file", ONE_OF_EACH)
def test_ids_that_there_are_not_are_refused(file: str) -> None:
    """Ids below 0 and beyond the last row are refused before anything is read."""
    table = first_of(DATA / f"{file}.safetensors")
    for wrong in (-1, table.max_id):
        with pytest.raises(IndexError, match=f"must be in 0..{table.max_id - 1}; got {wrong}"):
            table(torch.tensor([0, wrong]))


@pytest.mark.parametrize("file", ONE_OF_EACH)
def test_copies_read_the_same_rows(file: str) -> None:
    """A pickled table and a deep copy open the file again; closing one leaves the others."""
    table = first_of(DATA / f"{file}.safetensors")
    expected = table(torch.tensor([2, 9]))
    copies = [pickle.loads(pickle.dumps(table)), copy.deepcopy(table)]
    table.close()
    for one in copies:
        assert torch.equal(one(torch.tensor([2, 9])), expected)
    with pytest.raises(ArtifactError, match="was closed"):
        table(torch.tensor([2]))


@pytest.mark.parametrize("file", ONE_OF_EACH)
def test_state_dict_goes_with_its_rows_alone(file: str) -> None:
    """A state dict holds parameters and what tells the rows; it loads where the same rows are, and nowhere else."""
    path = DATA / f"{file}.safetensors"
    tables = list(embcompress.load(path, resident=False).values())
    table = tables[0]
    state = {name: value * 2 if value.is_floating_point() else value for name, value in table.state_dict().items()}
    assert set(state) == {*(name for name, _ in table.named_parameters()), "rows_identity"}
    other = first_of(path)
    other.load_state_dict(state)
    for name, parameter in other.named_parameters():
        assert torch.equal(parameter, state[name])
    state["rows_identity"] = state["rows_identity"] + 1
    with pytest.raises(RuntimeError, match="it belongs to rows of another file"):
        other.load_state_dict(state)


def test_half_changes_the_rows_and_not_how_they_are_decoded(small_seekable: Path) -> None:
    """Rows of half precision are those in memory, and the parameters stay wide."""
    ((resident, on_disk),) = load_both(small_seekable)
    ids = torch.arange(30)
    assert torch.equal(on_disk.half()(ids), resident.half()(ids))
    assert on_disk.scales.dtype == torch.float32


def test_normalizers_and_shapes_apply(small_seekable: Path) -> None:
    """A table that is reshaped has its rows in the new shape, normalised."""
    table = first_of(small_seekable)
    ids = torch.tensor([1, 2, 8999])
    reshaped = table.reshape(shape=(3, 4), dtype=torch.float32, trainable=False, normalizer="normalize")
    expected = nn.functional.normalize(table(ids)).view(3, 3, 4)
    torch.testing.assert_close(reshaped(ids), expected)


def test_bilinear_tables_are_in_memory() -> None:
    """Tables of matrices are loaded whole, the vectors beside them not."""
    tables = embcompress.load(DATA / "bilinear-v2.safetensors", resident=False)
    assert isinstance(tables["relation.weight"], LowRankBilinear)
    assert isinstance(tables["entity.weight"], DiskLowRankRepresentation)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc counts reads")
def test_a_row_takes_one_read(small_seekable: Path) -> None:
    """Rows far from each other take one read each, kinds and lengths included; neighbours share one."""
    table = first_of(small_seekable)

    def count() -> int:
        return int(Path("/proc/self/io").read_text().split("syscr: ")[1].split()[0])

    def reads_of(ids: Tensor) -> int:
        table(ids)
        before = count()
        beside = count() - before
        before = count()
        table(ids)
        return count() - before - beside

    assert reads_of(torch.tensor([8999, 17])) == 2
    assert reads_of(torch.tensor([4000, 4010, 4001, 4000])) == 1
    assert reads_of(torch.tensor([])[:0].long()) == 0


@for_each("file", ONE_OF_EACH)
def test_a_file_cut_under_a_table_is_an_error(file: str, tmp_path: Path) -> None:
    """Once the file is cut, lookups fail by name, and leave the process alive."""
    path = Path(shutil.copy(DATA / f"{file}.safetensors", tmp_path / f"{file}.safetensors"))
    table = first_of(path)
    table(torch.arange(5))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ArtifactError, match=f"{file}.safetensors was changed or cut"):
        table(torch.arange(5))


def test_damage_where_rows_lie_is_told_or_stays_inside(seekable: Path) -> None:
    """Codes with flipped bits are refused, or give finite rows: no lookup reads what is not its own."""
    table = first_of(seekable)
    place, size = table.strings.file._position, table.strings.nbytes
    content = bytearray(seekable.read_bytes())
    for position in range(place, place + size, 3):
        content[position] ^= 1 << position % 8
    seekable.write_bytes(content)
    damaged, refused = first_of(seekable), []
    for first in range(0, 9000, 16):
        try:
            rows = damaged(torch.arange(first, min(first + 16, 9000)))
        except ArtifactError as err:
            refused.append(str(err))
        else:
            assert bool(torch.isfinite(rows).all())
    assert 0 < len(refused) < 563
    assert set(refused) == {"the index of a coded table is damaged. Compress the original again."}


def test_a_damaged_index_is_refused_when_it_is_opened(seekable: Path) -> None:
    """What finds the rows is checked by its checksum."""
    content = bytearray(seekable.read_bytes())
    table = first_of(seekable)
    content[table.strings.file._position + table.strings.nbytes + 2] ^= 4
    seekable.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"entity.weight.index.*crc32"):
        embcompress.load(seekable, resident=False)


@for_each("checksum", (None, "", "zz", "-0000001"))
def test_rows_without_a_checksum_are_refused(checksum: str | None, tmp_path: Path) -> None:
    """A header that lacks the checksum of the rows, which tells them from others, is damaged."""
    for file, tensor in (("plain-v2", ".weights"), ("coded-v1", ".codes"), ("coded-v2", ".codes")):
        path = Path(shutil.copy(DATA / f"{file}.safetensors", tmp_path))

        def change(document: dict[str, Any], suffix: str = tensor) -> None:
            for name in [name for name in document["crc32"] if suffix in name]:
                if checksum is None:
                    del document["crc32"][name]
                else:
                    document["crc32"][name] = checksum

        edit_document(path, change)
        with pytest.raises(ArtifactError, match=f"says '{checksum or ''}' of the crc32 of tensor"):
            embcompress.load(path, resident=False)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    """NaN in the rows that are looked up is told; other rows are not looked at."""
    path = Path(shutil.copy(DATA / "grown-v2.safetensors", tmp_path / "rows.safetensors"))
    weights = first_of(path).weights
    with path.open("r+b") as file:
        file.seek(weights.file._position + 7 * weights.row_bytes)
        file.write(b"\xff" * weights.row_bytes)
    table = first_of(path)
    assert bool(torch.isfinite(table(torch.tensor([6, 8]))).all())
    with pytest.raises(ArtifactError, match="hold NaN or infinity"):
        table(torch.tensor([7]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_traces_are_refused(small_seekable: Path) -> None:
    """torch.jit would keep the rows of the ids that it was shown."""
    table = first_of(small_seekable)
    with pytest.raises(RuntimeError, match="cannot be traced"):
        torch.jit.trace(table, torch.tensor([1]))


@pytest.mark.parametrize("file", ONE_OF_EACH)
def test_lookups_under_vmap_are_refused(file: str) -> None:
    """Ids of a batch cannot be seen one by one: the message says what to do instead."""
    table = first_of(DATA / f"{file}.safetensors")
    with pytest.raises(RuntimeError, match="under vmap: look up all ids before"):
        torch.vmap(table)(torch.tensor([[1, 2], [3, 0]]))
