"""CodedRepresentation: the rows that the encoder told, however they are looked up, and parts that learn."""

from __future__ import annotations

import copy
import json
import math
import pickle
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import embcompress
from embcompress.coding.codebook import Codebook
from embcompress.coding.coder import encode_block
from embcompress.coding.read_kernels import PADDING
from embcompress.coding.row_index import RowIndex, make_row_index
from embcompress.linalg.blocks import BLOCK_ROWS
from embcompress.nn import BackfillRepresentation, CodedRepresentation, Embedding, LowRankHead
from tests.cases import for_each
from tests.fixtures import save_to_memory
from tests.nn.coded_tables import ROWS, WAYS, ZERO_ROWS, EncodedTable, encode_table, make_table

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
SHAPES = [(6,), (3, 2), (2, 1, 2)]
BUFFERS = ["codebook_bytes", "codes", "kinds", "lengths"]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64]

every_way = pytest.mark.parametrize("way", WAYS)


def assert_near(actual: Tensor, expected: Tensor) -> None:
    """Compare with float64 values: sums of 12 products at most err by some roundings of their largest."""
    size = float(expected.abs().max()) if expected.numel() else 0.0
    tolerance = 64 * torch.finfo(actual.dtype).eps * size
    torch.testing.assert_close(actual.detach().cpu().to(expected.dtype), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@for_each("way", WAYS)
@for_each("shape", SHAPES)
def test_coded_looks_up_the_rows_that_were_encoded(
    way: str, shape: tuple[int, ...], dtype: torch.dtype, device: str
) -> None:
    """None, 0-d, 1-D, 2-D and empty ids of every integer dtype give the rows in the table's dtype, near the original.

    A number is off by three steps of 0.5 at most: rows of lengths up to 4 have the step of all others.
    """
    table, encoded = make_table(shape, dtype, way=way)
    table, dense = table.to(device), encoded.dense
    assert (table.max_id, table.shape, table.is_complex, table.dtype) == (ROWS, shape, dtype.is_complex, dtype)
    assert table.device.type == device
    assert table.num_bases == (2 if way == "bases" else math.prod(shape) * (2 if dtype.is_complex else 1))
    assert table().dtype == dtype
    assert_near(table(), dense)
    real = torch.view_as_real(dense) if dtype.is_complex else dense
    assert float((real.flatten(1) - encoded.original).abs().max()) < 1.5
    for integer in INTEGERS:
        for ids in ([3, 0, 39, 3], [[1, 2], [39, 0], [7, 7]], 7, [], [[]]):
            indices = torch.tensor(ids, dtype=integer)
            assert_near(table(indices.to(device)), dense[indices.long()])


@every_way
def test_coded_tells_weights(way: str) -> None:
    """weights_of gives, to the bit, the weights that the encoder said they would decode to."""
    table, encoded = make_table(way=way)
    ids = torch.tensor([[7, 3], [0, 7]])
    assert torch.equal(table.weights_of(None), encoded.weights)
    assert torch.equal(table.weights_of(ids), encoded.weights[ids])


@every_way
def test_coded_rows_of_zeros_are_zero(way: str) -> None:
    """Rows that were zeros are exactly zero, and score 0, whatever centers and scales have become."""
    table, _ = make_table(way=way)
    with torch.no_grad():
        for parameter in table.parameters():
            parameter.add_(1)
    zeros = torch.tensor(ZERO_ROWS)
    assert torch.equal(table(zeros), torch.zeros(3, 6))
    assert torch.equal(table.scores(torch.ones(6))[zeros], torch.zeros(3))


@every_way
def test_coded_applies_scales_and_centers(way: str) -> None:
    """A column's scale multiplies its numbers, and not its center, which is added behind."""
    table, encoded = make_table(way=way)
    generator = torch.Generator().manual_seed(3)
    columns = table.num_bases
    scales, centers = torch.rand(columns, generator=generator), torch.randn(1, columns, generator=generator)
    table.load_state_dict({**table.state_dict(), "scales": scales} | ({"centers": centers} if way == "centers" else {}))
    expected = encoded.numbers.double() * scales.double()
    if way == "centers":
        is_used = torch.ones(ROWS, 1, dtype=torch.float64)
        is_used[list(ZERO_ROWS)] = 0
        expected += is_used * centers.double()
    assert_near(table(), encoded.multiply_out(expected))


def test_coded_decodes_profiles_and_steps() -> None:
    """Rows of two profiles, with centers of their own, and of two steps, decode as encoded."""
    kinds = np.array([1, 2, 0, 2, 4, 3, 0, 3])
    values = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)) * 5
    book = Codebook(
        states=8,
        rank=3,
        steps=(1.0, 0.25),
        profiles=np.array([0, 0, 1, 0, 1]),
        shifts=np.array([0, 0, 4, 0, 4]),
        scales=np.array([0, 0, -6, 0, -6]),
        step_numbers=np.array([0, 0, 0, 1, 1]),
        classes=np.array([[16, 18, 16], [24, -16, 14]]),
        center_numbers=np.array([[4, 0, -4], [0, 9, 1]]),
        center_step=0.5,
    )
    blocks = [encode_block(values[rows], kinds[rows], codebook=book, threads=1) for rows in (slice(0, 4), slice(4, 8))]
    table = CodedRepresentation.from_codes(
        codes=torch.from_numpy(np.concatenate([block.strings for block in blocks])),
        index=make_row_index(kinds, np.concatenate([block.lengths for block in blocks])),
        codebook=book,
        bases=None,
        shape=3,
        dtype=torch.float32,
    )
    assert table.centers is not None
    assert table.centers.tolist() == [[2.0, 0.0, -2.0], [0.0, 4.5, 0.5]]
    assert torch.equal(table(), torch.cat([block.weights for block in blocks]))
    # the second column of profile 1 has no bits
    assert table(torch.tensor([1, 3, 4]))[:, 1].tolist() == [4.5] * 3
    # an error of three quarters of the step at most, times 2^(-3/4) in rows of kind 2
    off = (table().detach() - values).abs()[:, [0, 2]]
    assert float(off[[1, 3]].max()) < 0.75 * 2**-0.75 * 1.5
    assert float(off[[4]].max()) < 0.75 * 0.25 * 2**-0.75 * 1.5


@pytest.mark.parametrize("way", ["centers", "bases"])
@for_each("trainable", [True, False])
def test_coded_goes_block_by_block(way: str, trainable: bool) -> None:
    """A table of two blocks and a bit gives the same rows and scores for None, at once and id by id, in order."""
    encoded = encode_table((4,), way=way).repeat(2 * BLOCK_ROWS // ROWS + 1)
    table, dense = CodedRepresentation.from_codes(**encoded.parts, trainable=trainable), encoded.dense
    assert 2 * BLOCK_ROWS < table.max_id < 3 * BLOCK_ROWS
    order = torch.randperm(table.max_id, generator=torch.Generator().manual_seed(5))
    assert_near(table(), dense)
    assert_near(table(order), dense[order])
    assert torch.equal(table.weights_of(order), encoded.weights[order])
    query = torch.tensor([1.0, -2.0, 0.5, 3.0])
    assert_near(table.scores(query), dense @ query.double())
    # one thread
    few = order[:70]
    assert torch.equal(table.weights_of(few), torch.stack([table.weights_of(number) for number in few]))


@pytest.mark.parametrize("ids", [[ROWS], [-1], [0, 2**40]], ids=str)
def test_coded_refuses_ids_outside_the_table(ids: list[int], device: str) -> None:
    """Too large an id and a negative one are an IndexError: no row is taken from the other end."""
    table, _ = make_table()
    with pytest.raises(IndexError, match=rf"0\.\.39; got {ids[-1]}\."):
        table.to(device)(torch.tensor(ids, device=device))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.complex64], ids=str)
def test_coded_refuses_ids_that_are_no_integers(dtype: torch.dtype) -> None:
    """A mask is no list of ids, and 2.7 is no row: TypeError."""
    table, _ = make_table()
    with pytest.raises(TypeError, match="ids must be integers"):
        table(torch.ones(ROWS).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@for_each("way", WAYS)
@for_each("normalizer", [None, "normalize"])
def test_coded_gradients(way: str, dtype: torch.dtype, normalizer: str | None) -> None:
    """Gradients of rows and scores to all parameters are those of finite differences, to 1e-6 in float64."""
    table, _ = make_table((3, 2), dtype, way=way, row_options={"normalizer": normalizer})
    names = [name for name, _ in table.named_parameters()]
    assert names == {"own columns": ["scales"], "centers": ["scales", "centers"], "bases": ["bases", "scales"]}[way]
    ids = torch.tensor([[2, 5], [2, 1], [0, 4]])
    query = torch.randn(2, 3, 2, dtype=dtype, generator=torch.Generator().manual_seed(2))

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = table

        def forward(self) -> tuple[Tensor, Tensor]:
            rows = table(ids)
            # rows of zeros cannot be differentiated by a normalizer
            return torch.view_as_real(rows) if rows.is_complex() else rows, table.scores(query)[:, [0, 1, 2, 4]]

    def evaluate(*values: Tensor) -> tuple[Tensor, Tensor]:
        own = {f"table.{name}": value for name, value in zip(names, values, strict=True)}
        return torch.func.functional_call(Both(), own, ())  # type: ignore[no-any-return]

    start = tuple(value.detach().requires_grad_() for value in table.parameters())
    assert torch.autograd.gradcheck(evaluate, start, eps=1e-6, atol=1e-6, rtol=1e-6, fast_mode=True)


def test_coded_learns_and_keeps_its_codes() -> None:
    """A step changes bases, scales and centers and no code; frozen, nothing has a gradient."""
    for way, expected in (("bases", {"bases", "scales"}), ("centers", {"scales", "centers"})):
        table, encoded = make_table(way=way)
        before = {name: value.detach().clone() for name, value in table.state_dict().items()}
        optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
        table(torch.tensor([4, 0, 4])).square().sum().backward()
        optimizer.step()
        table.post_parameter_update()
        table.reset_parameters()
        changed = {name for name, value in table.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == expected
        frozen = CodedRepresentation.from_codes(**encoded.parts, trainable=False)
        assert [parameter.requires_grad for parameter in frozen.parameters()] == [False] * 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.complex64], ids=str)
@for_each("way", WAYS)
@for_each("lead", [(), (2,), (2, 3), (0,)])
def test_coded_scores_are_those_of_the_dense_table(
    way: str, dtype: torch.dtype, lead: tuple[int, ...], device: str
) -> None:
    """Scores are Re sum(query * conj(row)) over the dense rows, in the dtype of the rows."""
    table, encoded = make_table((3, 2), dtype, way=way)
    table, dense = table.to(device), encoded.dense
    query = torch.randn(*lead, 3, 2, dtype=dtype, generator=torch.Generator().manual_seed(3))
    scores = table.scores(query.to(device))
    expected = torch.einsum("...ab,nab->...n", query.to(dense.dtype), dense.conj())
    assert scores.dtype == dtype.to_real()
    assert_near(scores, expected.real)


@every_way
def test_coded_scores_normalized_rows(way: str) -> None:
    """With a normalizer, scores are inner products with rows of unit norm; zero rows score 0."""
    table, encoded = make_table((3, 2), torch.float64, way=way, row_options={"normalizer": "normalize", "dropout": 0.5})
    dense = nn.functional.normalize(encoded.dense.flatten(1)).view(ROWS, 3, 2)
    query = torch.randn(4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert_near(table.scores(query), torch.einsum("qab,nab->qn", query, dense))


@pytest.mark.parametrize(
    ("query", "dtype"), [(torch.ones(3), torch.float32), (torch.ones(6), torch.complex64)], ids=str
)
def test_coded_refuses_queries_of_other_shapes(query: Tensor, dtype: torch.dtype) -> None:
    """A query of another shape, or a real one for complex rows, is a ValueError that tells both."""
    table, _ = make_table((6,), dtype)
    with pytest.raises(ValueError, match=r"a query is torch.* of shape \(\.\.\., \(6,\)\); got torch.float32"):
        table.scores(query)


class Widest(TorchDispatchMode):
    """Remembers the largest number of entries that any operation gave, and counts products of matrices."""

    entries = 0
    products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and look at its result."""
        result = func(*args, **(kwargs or {}))
        self.products += func is torch.ops.aten.mm.default
        for part in result if isinstance(result, list | tuple) else [result]:
            self.entries = max(self.entries, part.numel() if isinstance(part, Tensor) else 0)
        return result


def test_coded_scores_never_build_the_table() -> None:
    """No operation of a head's scores gives as many entries as a quarter of the table has."""
    encoded = encode_table((60,)).repeat(4 * BLOCK_ROWS // ROWS)
    table = CodedRepresentation.from_codes(**encoded.parts)
    head = LowRankHead(table, nn.Parameter(torch.ones(table.max_id)))
    query = torch.full((2, 60), 2.0**-7)
    table(torch.tensor([0]))
    with Widest() as widest, torch.no_grad():
        scores = head(query)
    assert widest.entries < table.max_id * 60 / 4
    assert_near(scores, encoded.dense.sum(dim=1).expand(2, -1) / 2**7 + 1)


@every_way
@for_each("normalizer", [None, "normalize"])
def test_coded_finds_the_rows_of_the_highest_scores(way: str, normalizer: str | None) -> None:
    """The k highest scores come highest first, of equal rows the first ones, and never more than a block is held."""
    encoded = encode_table((4,), way=way).repeat(2 * BLOCK_ROWS // ROWS + 1)
    table = CodedRepresentation.from_codes(**encoded.parts, normalizer=normalizer).requires_grad_(False)
    query = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
    expected = table.scores(query).sort(dim=-1, descending=True, stable=True)
    with Widest() as widest:
        scores, ids = table.topk(query, 500)
    assert widest.entries < 6 * table.max_id
    assert torch.equal(scores, expected.values[..., :500])
    assert torch.equal(ids, expected.indices[..., :500])
    bias = nn.Parameter(torch.randn(table.max_id, generator=torch.Generator().manual_seed(2)), requires_grad=False)
    head = LowRankHead(table, bias)
    shifted = head(query).sort(dim=-1, descending=True, stable=True)
    scores, ids = head.topk(query, 50)
    assert torch.equal(scores, shifted.values[..., :50])
    assert torch.equal(ids, shifted.indices[..., :50])
    for k in (0, table.max_id + 1):
        with pytest.raises(ValueError, match=rf"k must be 1\.\.{table.max_id}, the rows of the table; got {k}\."):
            table.topk(query, k)


@pytest.fixture
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_two_threads")
def test_coded_scores_beside_each_other_what_has_no_graph() -> None:
    """Scores of three blocks in two threads are those of one; a mode sees them, and a normalizer that learns too."""
    encoded = encode_table((4,), way="bases").repeat(2 * BLOCK_ROWS // ROWS + 1)
    table = CodedRepresentation.from_codes(**encoded.parts).requires_grad_(False)
    query = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores = table.scores(query)
    assert_near(scores, query.double() @ encoded.dense.T)
    with torch.no_grad(), Widest() as widest:
        assert torch.equal(table.scores(query), scores)
    assert widest.products == 1 + 3  # of the query and the bases, and a block each
    table.normalizer = nn.LayerNorm(4)
    best, ids = table.topk(query, 3)
    (gradient,) = torch.autograd.grad(best.sum(), [table.normalizer.bias])
    assert torch.equal(ids, table.scores(query).sort(dim=-1, descending=True, stable=True).indices[:, :3])
    torch.testing.assert_close(gradient, 3 * query.sum(dim=0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@for_each("way", WAYS)
def test_coded_state_dict_round_trip(way: str, dtype: torch.dtype) -> None:
    """Another table of as many rows, with codes of another length, loads strictly and is the same."""
    (table, encoded), (other, _) = make_table((3, 2), dtype, way=way), make_table((3, 2), dtype, way=way, seed=7)
    assert len(other.codes) != len(table.codes)
    assert not torch.equal(other(), table())
    state = torch.load(save_to_memory(table.state_dict()), weights_only=True)
    assert sorted(state) == sorted([*BUFFERS, *(name for name, _ in table.named_parameters())])
    other.load_state_dict(state, strict=True)
    assert torch.equal(other(), table())
    assert_near(other(), encoded.dense)
    third, _ = make_table((3, 2), dtype, way=way, seed=7)
    nested = nn.ModuleDict({"entity": third.to("meta")})
    nested.load_state_dict({f"entity.{key}": value for key, value in state.items()}, assign=True)
    assert torch.equal(nested["entity"].to("cpu")(), table())


def test_coded_state_dict_takes_wider_lengths() -> None:
    """A string of 70 000 bytes, whose length needs four, comes with the state dict."""
    dim = 2 * 70_000
    values = torch.randn(2, dim, generator=torch.Generator().manual_seed(0)) * 16
    none, kinds = np.zeros(2, np.int64), np.array([0, 1])
    book = Codebook(8, dim, (1.0,), none, none, none, none, np.full((1, dim), 32))
    block = encode_block(values, kinds, codebook=book, threads=1)
    assert block.lengths.max() > 2**16
    parts: dict[str, Any] = {"codebook": book, "bases": None, "shape": dim, "dtype": torch.float32}
    long = CodedRepresentation.from_codes(
        codes=torch.from_numpy(block.strings), index=make_row_index(kinds, block.lengths), **parts
    )
    nothing = make_row_index(none, none)
    short = CodedRepresentation.from_codes(codes=torch.empty(0, dtype=torch.uint8), index=nothing, **parts)
    assert torch.equal(short(), torch.zeros(2, dim))
    short.load_state_dict(long.state_dict())
    assert torch.equal(short(), block.weights)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("codes", lambda codes: codes[:-1], "the strings of all rows have .* bytes; got codes of"),
        ("codes", lambda codes: codes.short(), "codes must be torch.uint8 of one axis; got torch.int16"),
        ("lengths", lambda lengths: lengths + 1, "the strings of all rows have"),
        ("lengths", lambda lengths: lengths[1:], "those of 40 rows; got 40 and 39"),
        ("kinds", lambda kinds: kinds - 1, "of kind 65535; the codebook has"),
        ("kinds", lambda kinds: kinds[None], r"one axis; got torch.int16 \(1, 40\)"),
        ("codebook_bytes", lambda stored: stored[:20], "the codebook is damaged, or not one of 6 columns"),
        ("centers", lambda centers: centers.repeat(2, 1), "size mismatch for centers"),
    ],
)
def test_coded_refuses_state_dicts_that_do_not_fit(key: str, change: Any, message: str) -> None:
    """Codes that the index or the codebook of the same state dict do not fit: load_state_dict says why."""
    table, _ = make_table(way="centers")
    other, encoded = make_table(way="centers", seed=7)
    state = table.state_dict()
    with pytest.raises(RuntimeError, match=message):
        other.load_state_dict({**state, key: change(state[key])})
    if key != "centers":
        # nothing was loaded: the decoder would read beyond the codes
        assert torch.equal(other(), encoded.weights)


def test_coded_refuses_a_codebook_of_other_profiles() -> None:
    """A codebook of two profiles does not fit to the centers of one."""
    table, encoded = make_table(way="centers")
    two = replace(
        encoded.codebook, classes=encoded.codebook.classes.repeat(2, axis=0), center_numbers=None, center_step=0.0
    )
    state = {**table.state_dict(), "codebook_bytes": torch.tensor(two.to_bytes())}
    with pytest.raises(RuntimeError, match="there are centers of 1 profiles; the codebook has 2"):
        table.load_state_dict(state)


def test_coded_takes_buffers_of_a_functional_call() -> None:
    """functional_call with the parameters and buffers of another table gives the other one's rows, and ends there."""
    (table, encoded), (other, others) = make_table(), make_table(seed=7)
    table()
    assert_near(torch.func.functional_call(table, other.state_dict(), (None,)), others.dense)
    assert_near(table(), encoded.dense)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_coded_casts_rows_not_what_decodes_them(dtype: torch.dtype) -> None:
    """half(), bfloat16() and double() change the dtype of rows; what decodes them stays in float32 or wider."""
    table, encoded = make_table(way="centers")
    buffers = {name: buffer.clone() for name, buffer in table.named_buffers()}
    table.to(dtype)
    assert table.dtype == table().dtype == table(torch.tensor([1])).dtype == dtype
    kept_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    assert {parameter.dtype for parameter in table.parameters()} == {kept_dtype}
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in table.named_buffers())
    # in float64 nothing is rounded: numbers are whole steps, and centers too
    expected = encoded.dense.to(dtype) if dtype == torch.float64 else encoded.weights.to(dtype)
    assert torch.equal(table(), expected)
    table.float()
    assert table.dtype == torch.float32
    assert torch.equal(table(), encoded.weights)


def test_coded_copies_share_nothing_with_training() -> None:
    """A table first looked up in inference mode trains later; a deep copy of it, and a pickled one, change alone."""
    table, _ = make_table()
    with torch.inference_mode():
        rows = table()
    twins = copy.deepcopy(table), pickle.loads(pickle.dumps(table))
    table().sum().backward()
    assert table.scales.grad is not None
    for twin in twins:
        assert torch.equal(twin(), rows)
        with torch.no_grad():
            twin.codes[:-PADDING].bitwise_xor_(1)
        assert not torch.equal(twin(), rows)
        assert twin.scales.grad is None
    assert torch.equal(table(), rows)


def test_coded_tells_bits_of_codes() -> None:
    """Repr tells columns and bits of codes an entry; codes with their padding are taken without a copy."""
    encoded = encode_table()
    padded = torch.cat([encoded.codes, torch.full((PADDING,), 255, dtype=torch.uint8)])
    table = CodedRepresentation.from_codes(**{**encoded.parts, "codes": padded}, trainable=False)
    assert table.codes.data_ptr() == padded.data_ptr()
    assert torch.equal(table.weights_of(None), encoded.weights)
    assert table.code_bits == 8 * len(encoded.codes)
    per_entry = 8 * len(encoded.codes) / (ROWS * 6)
    assert f"trainable=0, num_bases=2, bits_per_entry={per_entry:.3g}" in repr(table)


def test_coded_rows_serve_as_a_base_of_a_backfill() -> None:
    """A backfill over a coded table gives its rows for the base ids, and draws new ones in their dtype."""
    table, encoded = make_table((3, 2))
    grown = BackfillRepresentation(max_id=ROWS + 4, base_ids=range(2, ROWS + 2), base=table)
    assert_near(grown(torch.arange(2, ROWS + 2)), encoded.dense)
    assert grown(torch.tensor([0])).isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": torch.int32}, "rows are floats or complex numbers; got torch.int32"),
        ({"codes": torch.zeros(3, dtype=torch.uint8)}, "bytes; got codes of 1 and 2 behind them"),
        ({"codes": torch.zeros(3)}, r"codes must be torch.uint8 of one axis; got torch.float32 \(3,\)"),
        ({"codes": torch.zeros(1, 3, dtype=torch.uint8)}, r"of one axis; got torch.uint8 \(1, 3\)"),
        ({"bases": torch.ones(5, 6)}, r"bases must be real, \(2, 6\)"),
        ({"bases": torch.ones(2, 6, dtype=torch.complex64)}, "got torch.complex64"),
        ({"bases": None}, "the 6 real entries of a row; the codebook has 2"),
        ({"index": make_row_index(np.full(2, 99), np.zeros(2, np.int64))}, "of kind 99; the codebook has"),
        (
            {"index": RowIndex(np.zeros(2, np.uint16), np.zeros(3, np.uint16))},
            "kinds and lengths are those of 2 rows; got 2 and 3",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_coded_refuses_parts_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    """Parts of other sizes or dtypes are a ValueError that names the part, what was found and what is needed."""
    with pytest.raises(ValueError, match=message):
        CodedRepresentation.from_codes(**{**encode_table().parts, **changes})


def write_artifact(path: Path, tables: dict[str, EncodedTable]) -> Path:
    """Write coded tables as docs/artifact.md tells."""
    tensors, fields = {}, {}
    for name, table in tables.items():
        tensors |= {
            f"{name}.codes": table.codes,
            f"{name}.index": torch.tensor(table.index.to_bytes(table.codebook)),
            f"{name}.codebook": torch.tensor(table.codebook.to_bytes()),
        }
        fields[name] = {
            "coding": "coded",
            "dtype": str(table.dtype).removeprefix("torch."),
            "error": {"relative": None},
            "kind": "embedding",
            "rank": table.codebook.rank,
            "shape": [ROWS, *table.shape],
            "tied_names": [],
        }
    checksums = {name: f"{zlib.crc32(tensor.numpy().tobytes()):08x}" for name, tensor in tensors.items()}
    document = {"schema_version": 2, "tables": fields, "crc32": checksums, "metadata": {}}
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt", "embcompress": json.dumps(document)})
    return path


@every_way
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_coded_takes_the_place_of_an_embedding(way: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """apply_to gives an nn.Embedding and a tied head rows and scores of the artifact, in the model's dtype."""
    encoded = encode_table(way=way)
    path = write_artifact(tmp_path / "model.safetensors", {"emb.weight": encoded})
    model = nn.ModuleDict({"emb": nn.Embedding(ROWS, 6, max_norm=2.0), "head": nn.Embedding(ROWS, 6)}).to(dtype)
    model["head"] = nn.Linear(6, ROWS, bias=True, dtype=dtype)
    model["emb"].max_norm = None
    model["head"].weight = model["emb"].weight
    bias = model["head"].bias.detach().double()
    placed = embcompress.apply_to(model, path)
    assert placed == {"emb.weight": model["emb"]}
    assert isinstance(model["emb"], CodedRepresentation)
    assert model["head"].table is model["emb"]
    ids = torch.tensor([[1, 2], [39, 0]])
    assert model["emb"](ids).dtype == dtype
    assert_near(model["emb"](ids), encoded.dense[ids])
    query = torch.randn(2, 6, dtype=dtype, generator=torch.Generator().manual_seed(2))
    assert_near(model["head"](query), query.double() @ encoded.dense.T + bias)


@every_way
def test_coded_takes_the_place_of_complex_rows(way: str, tmp_path: Path) -> None:
    """A table of pairs of reals, as an Embedding of complex rows stores them, is looked up as complex rows."""
    encoded = encode_table(way=way)
    path = write_artifact(tmp_path / "model.safetensors", {"emb._embeddings.weight": encoded})
    model = nn.ModuleDict({"emb": Embedding(max_id=ROWS, shape=3, dtype=torch.complex64)})
    embcompress.apply_to(model, path)
    assert isinstance(model["emb"], CodedRepresentation)
    ids = torch.tensor([[1, 2], [39, 0]])
    assert_near(model["emb"](ids), torch.view_as_complex(encoded.dense.view(ROWS, 3, 2))[ids])


@every_way
def test_coded_keeps_a_limit_of_norms_and_what_was_trained(way: str, tmp_path: Path) -> None:
    """A max_norm becomes a normalizer of looked up rows, and reshape keeps scales and centers as they are."""
    encoded = encode_table((6,), way=way)
    path = write_artifact(tmp_path / "model.safetensors", {"emb.weight": encoded})
    model = nn.ModuleDict({"emb": nn.Embedding(ROWS, 6, max_norm=2.0)}).requires_grad_(False)
    embcompress.apply_to(model, path)
    norms = encoded.dense.norm(dim=1, keepdim=True)
    # PyTorch divides by the norm + 1e-7
    expected = encoded.dense * (2.0 / norms).nan_to_num(posinf=1.0).clamp(max=1.0)
    torch.testing.assert_close(model["emb"]().double(), expected, rtol=0, atol=2e-6)
    table = CodedRepresentation.from_codes(**encoded.parts)
    with torch.no_grad():
        for parameter in table.parameters():
            parameter.mul_(1.5)
    other = table.reshape(shape=(3,), dtype=torch.complex64, trainable=False)
    assert torch.equal(torch.view_as_real(other()).flatten(1), table())
    assert not any(parameter.requires_grad for parameter in other.parameters())
    with pytest.raises(ValueError, match=r"rows have 6 real entries; got the shape \(5,\)"):
        table.reshape(shape=(5,), dtype=torch.float32, trainable=False)


def test_coded_loads_from_an_artifact(tmp_path: Path, device: str) -> None:
    """embcompress.load gives the rows that were encoded, real and complex ones."""
    tables = {
        "words": encode_table((3, 2), way="bases"),
        "signs": encode_table((3,), torch.complex64, way="centers", seed=2),
    }
    loaded = embcompress.load(write_artifact(tmp_path / "model.safetensors", tables), device=device)
    assert sorted(loaded) == ["signs", "words"]
    for name, encoded in tables.items():
        assert_near(loaded[name](torch.tensor([4, 0], device=device)), encoded.dense[[4, 0]])
