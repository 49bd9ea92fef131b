"""Coded tables in a file: read by forty lines that know only docs/artifact.md, and refused where anything is off."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import embcompress
from embcompress.exceptions import ArtifactError

SAMPLES = Path(__file__).parent.parent / "sample_checkpoints"
COMMITTED = Path(__file__).parent / "data" / "coded-v1.safetensors"
DTYPES = {"U8": "<u1", "I8": "<i1", "F16": "<f2", "F32": "<f4", "BF16": "<u2", "I64": "<i8", "C64": "<c8"}


def parse(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, NDArray[Any]]]:
    """Take a file apart as docs/artifact.md tells: its header, the document in it, and the tensors."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    document = json.loads(header.pop("__metadata__")["embcompress"])
    tensors = {}
    for name, said in header.items():
        begin, end = said["data_offsets"]
        found = np.frombuffer(raw[start + begin : start + end], DTYPES[said["dtype"]]).reshape(said["shape"])
        if said["dtype"] == "BF16":
            found = (found.astype("<u4") << 16).view("<f4")
        tensors[name] = found
    return header, document, tensors


def decode(path: Path, name: str) -> NDArray[np.float64]:
    """Decode a coded table bit by bit, (rows, real entries of a row)."""
    _, document, tensors = parse(path)
    said = document["tables"][name]
    rows, rank = said["shape"][0], said["rank"]
    bits = [[int(digit, 16) for digit in bytes(row).hex()][:rank] for row in tensors[f"{name}.bits"]]
    scales, all_levels = (
        iter(tensors[f"{name}.scales"].tolist()),
        iter(tensors[f"{name}.levels"].astype(float).tolist()),
    )
    scale = [[next(scales) if count else 0.0 for count in group] for group in bits]
    window = dict(said["levels"])
    levels = {c: [next(all_levels) for _ in range(2**size * (2 if c == 9 else 1))] for c, size in window.items()}
    width = next(width for width in (0, 1, 2, 4, 8) if len(bits) <= 2**width)
    flags = "".join(f"{byte:08b}" for byte in tensors[f"{name}.groups"]) if width else ""
    codes = [iter(tensors[f"{name}.codes.{group}"].tolist()) for group in range(len(bits))]
    weights = np.zeros((rows, rank))
    for row in range(rows):
        group = int(flags[row * width : (row + 1) * width], 2) if width else 0
        string, end = "".join(f"{byte:08b}" for byte in next(codes[group])), 0
        halves = [k for k in reversed(range(rank)) if bits[group][k] == 9]
        for k in [*halves, *(k for k in reversed(range(rank)) if bits[group][k] not in {0, 9})]:
            count = bits[group][k]
            is_second = count == 9 and halves.index(k) % 2
            end += (0 if is_second else 1) if count == 9 else count
            read = int((string[-8:] + string[:end])[-window[count] :], 2)
            weights[row, k] = scale[group][k] * levels[count][read + (2 ** window[count] if is_second else 0)]
    if f"{name}.bases" not in tensors:
        return weights
    bases = tensors[f"{name}.bases"].astype(np.float64).reshape(rank, -1)
    if f"{name}.basis_scales" in tensors:
        bases = bases * tensors[f"{name}.basis_scales"].astype(np.float64)[:, None]
    return weights @ bases


def rows_of(values: Tensor) -> NDArray[np.float64]:
    """Flatten rows to reals in float64."""
    real = torch.view_as_real(values) if values.is_complex() else values
    return real.detach().double().reshape(len(values), -1).numpy()


def draw(rows: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw rows of different norms whose singular values fall."""
    generator = torch.Generator().manual_seed(rows)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    dim = int(np.prod(shape))
    sizes = (0.7 * torch.randn(rows, 1, generator=generator, dtype=torch.float64)).exp()
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=wide)).Q
    flat = torch.randn(rows, dim, generator=generator, dtype=wide) * sizes * 0.85 ** torch.arange(dim) @ turn
    return flat.view(rows, *shape).to(dtype)


def compress(folder: Path, table: Tensor, **options: Any) -> Path:
    """Save a table and compress it; return the artifact, which holds it coded."""
    source = folder / "model.safetensors"
    safetensors.torch.save_file({"entities.weight": table, "steps": torch.arange(3)}, source)
    result = embcompress.approximate(source, output=folder / "small.safetensors", force=True, **options)
    assert [said.coding for said in result.tables] == ["coded"]
    return folder / "small.safetensors"


CASES: Mapping[str, tuple[Tensor, dict[str, Any]]] = {
    "groups": (draw(1200, 24), {"ratio": 16}),
    "few bits": (draw(1200, 24), {"ratio": 40}),
    "many bits": (draw(500, 12), {"ratio": 3}),
    "fast": (draw(800, 16), {"ratio": 12, "effort": "fast"}),
    "signs": (draw(700, 40).sign(), {"ratio": 28}),
    "complex": (draw(500, 4, 3, dtype=torch.complex64), {"ratio": 12}),
    "float16": (draw(500, 20, dtype=torch.float16), {"ratio": 6}),
    "bfloat16": (draw(500, 20, dtype=torch.bfloat16), {"max_error": 0.2}),
    "float64": (draw(500, 5, 4, dtype=torch.float64), {"ratio": 25}),
}
EPS = {"float64": 1e-5, "float32": 1e-5, "complex64": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
# Relative to the largest entry: float32 sums of a few dozen products, and the rounding to the table's own dtype.


@pytest.mark.parametrize(("table", "options"), CASES.values(), ids=CASES)
def test_coded_file_is_read_by_its_documentation(tmp_path: Path, table: Tensor, options: dict[str, Any]) -> None:
    """Plain Python decodes what reconstruct, load and the reported error say, in every dtype and shape."""
    path = compress(tmp_path, table, **options)
    name = "entities.weight"
    expected = decode(path, name)
    dtype = str(table.dtype).removeprefix("torch.")
    tolerance = EPS[dtype] * float(np.abs(expected).max())
    dense = safetensors.torch.load_file(
        embcompress.reconstruct(path, output=tmp_path / "dense.safetensors").output.path
    )
    assert (dense[name].shape, dense[name].dtype) == (table.shape, table.dtype)
    np.testing.assert_allclose(rows_of(dense[name]), expected, rtol=0, atol=tolerance)
    with torch.no_grad():
        np.testing.assert_allclose(rows_of(embcompress.load(path)[name](None)), expected, rtol=0, atol=tolerance)
    header, document, _ = parse(path)
    wide = rows_of(table)
    told = document["tables"][name]["error"]["relative"]
    assert told == pytest.approx(float(np.linalg.norm(wide - expected) / np.linalg.norm(wide)), rel=1e-4)
    assert torch.equal(dense["steps"], torch.arange(3))
    raw, start = path.read_bytes(), path.stat().st_size - max(said["data_offsets"][1] for said in header.values())
    for one, said in header.items():
        begin, end = said["data_offsets"]
        assert document["crc32"][one] == f"{zlib.crc32(raw[start + begin : start + end]):08x}"


def test_coded_table_serves_a_tied_model(tmp_path: Path) -> None:
    """apply_to puts a coded table in place of an embedding and its tied head: rows and scores are those decoded."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(900, 24)
            self.head = nn.Linear(24, 900, bias=False)
            self.head.weight = self.embedding.weight

    model = Model()
    with torch.no_grad():
        model.embedding.weight.copy_(draw(900, 24))
    source = tmp_path / "model.pt"
    torch.save(model.state_dict(), source)
    result = embcompress.approximate(source, ratio=8)
    assert [(said.name, said.coding) for said in result.tables] == [("embedding.weight", "coded")]
    expected = torch.from_numpy(decode(Path(result.output.path), "embedding.weight"))
    embcompress.apply_to(model, result.output.path)
    ids = torch.tensor([[0, 899], [17, 17]])
    with torch.no_grad():
        torch.testing.assert_close(model.embedding(ids).double(), expected[ids], rtol=0, atol=1e-4)
        queries = draw(5, 24)
        torch.testing.assert_close(model.head(queries).double(), queries.double() @ expected.T, rtol=1e-4, atol=1e-3)


def rewrite(
    path: Path,
    *,
    tensors: Callable[[dict[str, Tensor]], object] = lambda _: None,
    said: Callable[[dict[str, Any]], object] = lambda _: None,
) -> None:
    """Write an artifact again with its tensors and what its header says of the table changed, checksums made right."""
    held = {name: value.clone() for name, value in safetensors.torch.load_file(path).items()}
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    document = json.loads(header["__metadata__"]["embcompress"])
    tensors(held)
    said(document["tables"]["words.weight"])
    held = {name: value.contiguous() for name, value in held.items()}
    document["crc32"] = {
        name: f"{zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().tobytes()):08x}" for name, value in held.items()
    }
    safetensors.torch.save_file(held, path, metadata={"format": "pt", "embcompress": json.dumps(document)})


def put(suffix: str, change: Callable[[Tensor], Tensor]) -> dict[str, Callable[[dict[str, Tensor]], object]]:
    """Change one tensor."""
    name = f"words.weight{suffix}"
    return {"tensors": lambda held: held.update({name: change(held[name])})}


def cut(suffix: str) -> dict[str, Callable[[dict[str, Tensor]], object]]:
    """Leave one tensor out."""
    return {"tensors": lambda held: held.pop(f"words.weight{suffix}")}


def say(**what: Any) -> dict[str, Callable[[dict[str, Any]], object]]:
    """Say something else of the table."""
    return {"said": lambda table: table.update(what)}


def spoil(place: int, value: float) -> Callable[[Tensor], Tensor]:
    """Put a number into a tensor."""

    def change(held: Tensor) -> Tensor:
        held.view(-1)[place] = value
        return held

    return change


LAST_CODES = ".codes.3"  # of the longest rows, which have bits at any size
PARTS = (".bases", ".basis_scales", ".bits", ".scales", ".levels", ".groups", ".codes.0", LAST_CODES)
HOSTILE: dict[str, dict[str, Any]] = {
    **{f"no {part}": cut(part) for part in PARTS},
    **{f"short {part}": put(part, lambda held: held[:-1]) for part in PARTS},
    **{f"flat {part}": put(part, lambda held: held.reshape(1, 1, -1)) for part in PARTS},
    **{f"int64 {part}": put(part, lambda held: held.to(torch.int64)) for part in PARTS},
    **{f"empty {part}": put(part, lambda held: held[:0]) for part in PARTS},
    "narrow codes": put(LAST_CODES, lambda held: held[:, 1:]),
    "wide codes": put(LAST_CODES, lambda held: torch.cat([held, held], dim=1)),
    "bits without levels": put(".bits", lambda held: held | 0xFF),
    "ten bits": put(".bits", spoil(0, 0xAA)),
    "other bits": put(".bits", lambda held: held.flip(0) ^ 0x11),
    "an odd half bit": put(".bits", spoil(0, 0x90)),
    "one group": put(".groups", torch.zeros_like),
    "other groups": put(".groups", lambda held: ~held),
    **{f"NaN {part}": put(part, spoil(0, float("nan"))) for part in (".scales", ".levels", ".basis_scales")},
    "infinite scales": put(".scales", spoil(-1, float("inf"))),
    "infinite levels": put(".levels", spoil(-1, float("-inf"))),
    "no windows": say(levels=[]),
    "windows of 9": say(levels=[[1, 9]]),
    "windows of 0": say(levels=[[1, 0]]),
    "windows below the bits": say(levels=[[4, 3]]),
    "bits of 10": say(levels=[[10, 8]]),
    "bits of 0": say(levels=[[0, 8]]),
    "windows twice": say(levels=[[1, 8], [1, 8]]),
    "windows in descending order": say(levels=[[2, 8], [1, 8]]),
    "windows of three": say(levels=[[1, 8, 1]]),
    "windows as text": say(levels="1:8"),
    "windows as numbers": say(levels=[1, 8]),
    "windows of floats": say(levels=[[1.0, 8.0]]),
    "windows of truth": say(levels=[[True, 8]]),
    "windows of nothing": say(levels=None),
    "a rank of 0": say(rank=0),
    "another rank": say(rank=3),
    "a huge rank": say(rank=10**12),
    "more rows": say(shape=[2326, 64]),
    "fewer rows": say(shape=[2324, 64]),
    "wider rows": say(shape=[2325, 65]),
    "huge rows": say(shape=[10**15, 64]),
    "another dtype": say(dtype="complex64"),
    "no dtype": say(dtype="int8"),
    "bilinear": say(kind="bilinear", matrix=[8, 8]),
    "plain": say(coding="plain"),
    "a new coding": say(coding="coded2"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_hostile_coded_files_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    """Tensors that are missing, cut, of another dtype or shape, or at odds with the rest, are refused in words."""
    path = tmp_path / "small.safetensors"
    path.write_bytes(COMMITTED.read_bytes())
    rewrite(path, **change)
    with pytest.raises(ArtifactError):
        embcompress.load(path)
    with pytest.raises(ArtifactError):
        embcompress.reconstruct(path)
    assert [one.name for one in tmp_path.iterdir()] == ["small.safetensors"]


def test_rewritten_file_is_read(tmp_path: Path) -> None:
    """The same file written again without a change is read: what the hostile ones are refused for is the change."""
    path = tmp_path / "small.safetensors"
    path.write_bytes(COMMITTED.read_bytes())
    rewrite(path)
    table, again = (embcompress.load(one)["words.weight"] for one in (COMMITTED, path))
    with torch.no_grad():
        assert torch.equal(table(None), again(None))


def test_changed_codes_are_refused(tmp_path: Path) -> None:
    """A single bit of a code that flips is found by its checksum, by load and by reconstruct."""
    raw = bytearray(COMMITTED.read_bytes())
    header, _, _ = parse(COMMITTED)
    start = len(raw) - max(said["data_offsets"][1] for said in header.values())
    raw[start + header[f"words.weight{LAST_CODES}"]["data_offsets"][0] + 7] ^= 4
    path = tmp_path / "small.safetensors"
    path.write_bytes(raw)
    for read in (embcompress.load, embcompress.reconstruct):
        with pytest.raises(ArtifactError, match=r"codes\.3"):
            read(path)
    assert [one.name for one in tmp_path.iterdir()] == ["small.safetensors"]


EXPECTED: Mapping[str, dict[int, list[float]]] = {
    "words.weight": {
        0: [-1.076557, 0.766158, -0.715175, -0.947304],
        7: [0.010625, 0.359925, 0.419361, -0.089322],
        1111: [0.124538, -0.282091, -0.090165, 0.153886],
        2323: [0.179467, -0.046672, -0.202440, 0.078942],
        2324: [0.126576, -0.063561, -0.118598, 0.310103],
    },
    "flat.weight": {
        0: [-0.112152, 0.028213, 0.169451, -0.111872],
        1: [-0.101638, 0.031467, 0.061125, -0.104652],
        999: [0.102759, 0.058688, 0.112782, -0.034224],
        1000: [-0.148461, 0.037455, 0.140072, -0.000871],
        2499: [0.015990, 0.187551, 0.096421, -0.015596],
    },
    "complex.weight": {
        0: [0.447525, 0.890167, -0.235788, -0.278950],
        3: [-0.430822, 0.062365, 0.399261, -0.442543],
        150: [0.325039, -2.918518, 0.784264, -0.910492],
        298: [2.436996, 1.214127, 0.399261, 1.167297],
        299: [0.068799, -1.136261, -0.235788, -1.022415],
    },
    "signs.weight": {
        0: [1.000000, -1.000000, 1.000000, -1.000000],
        1: [-1.000000, 1.000000, -1.000000, -1.000000],
        2: [1.000000, 1.000000, 1.000000, 1.000000],
        498: [-1.000000, 1.000000, 1.000000, -1.000000],
        499: [1.000000, -1.000000, 1.000000, -1.000000],
    },
}  # The first four reals of some rows, and below the Frobenius norms.
NORMS = {"words.weight": 115.081712, "flat.weight": 34.545419, "complex.weight": 34.582746, "signs.weight": 109.544512}


@pytest.mark.parametrize("name", EXPECTED)
def test_committed_file_is_read(tmp_path: Path, name: str) -> None:
    """A file of the first version is read as it was then, by its documentation, load and reconstruct.

    Made by `embcompress approximate all.safetensors --table '*.weight' --ratio 44` from tables of torch's seed 7, in
    this order: flat = normalize(randn(2500, 48)); complex = complex(randn(300, 4, 3), randn(300, 4, 3)) times
    0.7 ** arange(12).view(4, 3); signs = randn(500, 24).sign(); and words, the table of sample_checkpoints/words with
    every sixth row times 3, from row 0 on. So flat has half bits, a trellis and two groups; words four groups and int8
    bases; complex and signs their own columns.
    """
    found = {"documentation": decode(COMMITTED, name)}
    dense = embcompress.reconstruct(COMMITTED, output=tmp_path / "dense.safetensors")
    found["reconstruct"] = rows_of(safetensors.torch.load_file(dense.output.path)[name])
    with torch.no_grad():
        found["load"] = rows_of(embcompress.load(COMMITTED)[name](None))
    for how, rows in found.items():
        for row, expected in EXPECTED[name].items():
            np.testing.assert_allclose(rows[row, :4], expected, rtol=0, atol=1e-5, err_msg=how)
        assert float(np.linalg.norm(rows)) == pytest.approx(NORMS[name], rel=1e-6)


def test_committed_file_has_every_part() -> None:
    """The committed file holds half bits, several groups, int8 bases, narrow and wide windows, and no bases."""
    _, document, tensors = parse(COMMITTED)
    halves = {name for name in EXPECTED if "9" in tensors[f"{name}.bits"].tobytes().hex()}
    assert halves == {"flat.weight"}
    assert {name: len(tensors[f"{name}.bits"]) for name in EXPECTED} == {
        "words.weight": 4,
        "flat.weight": 2,
        "complex.weight": 1,
        "signs.weight": 1,
    }
    assert tensors["words.weight.bases"].dtype == np.int8
    assert "flat.weight.bases" not in tensors
    assert {window for said in document["tables"].values() for _, window in said["levels"]} >= {1, 2, 8}
    assert COMMITTED.stat().st_size < 40_000
