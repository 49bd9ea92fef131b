"""WindowCodedRepresentation: rows of schema 1 as docs/artifact.md decodes them, and parts that learn."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import embcompress
from embcompress.coding.window_codebook import WindowCodebook
from embcompress.linalg.blocks import BLOCK_ROWS
from embcompress.nn import BackfillRepresentation, LowRankHead, WindowCodedRepresentation
from tests.cases import for_each
from tests.fixtures import save_to_memory
from tests.nn.window_tables import COLUMNS, GROUPS, HALF, ROWS, WINDOWS, make_parts, make_table

COMMITTED = Path(__file__).parent.parent / "data" / "coded-v1.safetensors"
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
SHAPES = [(6,), (3, 2), (2, 1, 2)]


def decode_slowly(parts: dict[str, Any]) -> Tensor:
    """Decode all weights, (rows, columns) float64, bit by bit in plain Python as docs/artifact.md tells."""
    codebook, seen, weights = parts["codebook"], [0] * 4, []
    groups = [0] * len(parts["codes"][0]) if parts["groups_of_rows"] is None else parts["groups_of_rows"].tolist()
    levels, starts, position = codebook.levels.tolist(), {}, 0
    for count, window in WINDOWS.items():
        starts[count], position = position, position + 2**window
    for group in groups:
        string = "".join(f"{byte:08b}" for byte in parts["codes"][group][seen[group]].tolist())
        seen[group] += 1
        bits, row, end = codebook.bits[group].tolist(), [0.0] * codebook.columns, 0
        backwards = list(reversed(range(codebook.columns)))
        halves = [k for k in backwards if bits[k] == HALF]
        for k in halves + [k for k in backwards if bits[k] not in {0, HALF}]:
            is_second = k in halves and halves.index(k) % 2
            end += 0 if is_second else 1 if k in halves else bits[k]
            window = WINDOWS[bits[k]]
            read = int((string[-8:] + string[:end])[-window:], 2) + (2**window if is_second else 0)
            row[k] = float(codebook.scales[group, k]) * levels[starts[bits[k]] + read]
        weights.append(row)
    return torch.tensor(weights, dtype=torch.float64)


def multiply_out(parts: dict[str, Any]) -> Tensor:
    """Build the dense table (rows, *shape) in float64 or complex128."""
    weights = decode_slowly(parts)
    stored = (*parts["shape"], 2) if parts["dtype"].is_complex else parts["shape"]
    flat = weights if parts["bases"] is None else weights @ parts["bases"].double().flatten(1)
    dense = flat.view(len(flat), *stored)
    return torch.view_as_complex(dense) if parts["dtype"].is_complex else dense


def assert_near(actual: Tensor, expected: Tensor) -> None:
    """Compare with float64 values: sums of 6 products below 20 in size err by a few roundings of 20."""
    tolerance = 200 * torch.finfo(actual.dtype).eps
    torch.testing.assert_close(actual.detach().cpu().to(expected.dtype), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64], ids=str
)
@for_each("shape", SHAPES)
@for_each("has_bases", [True, False])
@for_each("groups", [GROUPS, [0] * ROWS])
def test_window_coded_looks_up_the_rows_of_the_format(
    shape: tuple[int, ...], dtype: torch.dtype, has_bases: bool, groups: list[int], device: str
) -> None:
    """None, 0-d, 1-D, 2-D and empty ids of every integer dtype give, in the table's dtype, the rows decoded by hand."""
    parts = make_parts(shape, dtype, groups=groups, has_bases=has_bases)
    table, dense = WindowCodedRepresentation.from_codes(**parts).to(device), multiply_out(parts)
    assert (table.max_id, table.shape, table.is_complex, table.dtype) == (ROWS, shape, dtype.is_complex, dtype)
    assert table.device.type == device
    assert table.num_bases == (COLUMNS if has_bases else math.prod(shape) * (2 if dtype.is_complex else 1))
    assert table().dtype == dtype
    assert_near(table(), dense)
    for integer in INTEGERS:
        for ids in ([3, 0, 10, 3], [[1, 2], [10, 0], [7, 7]], 7, [], [[]]):
            indices = torch.tensor(ids, dtype=integer)
            assert_near(table(indices.to(device)), dense[indices.long()])


@pytest.mark.parametrize("has_bases", [True, False], ids=["bases", "own columns"])
def test_window_coded_tells_weights(has_bases: bool) -> None:
    """weights_of gives the weights decoded by hand, zeros for columns without bits."""
    parts = make_parts(has_bases=has_bases)
    table, weights = WindowCodedRepresentation.from_codes(**parts), decode_slowly(parts)
    assert_near(table.weights_of(None), weights)
    assert_near(table.weights_of(torch.tensor([[7, 3], [0, 7]])), weights[torch.tensor([[7, 3], [0, 7]])])
    assert int((weights == 0).sum()) == 4 + 5 + 12  # 4 rows of group 0, 5 of 2 with a column less, 2 of 3 all zero


@pytest.mark.parametrize("trainable", [True, False])
def test_window_coded_goes_block_by_block(trainable: bool) -> None:
    """A table of two blocks and a bit gives the same rows and scores for None, at once and id by id, in order."""
    rows = 2 * BLOCK_ROWS + 5
    parts = make_parts((2,), groups=(GROUPS * rows)[:rows])
    table = WindowCodedRepresentation.from_codes(**parts, trainable=trainable)
    dense = multiply_out(parts)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(5))
    assert_near(table(), dense)
    assert_near(table(order), dense[order])
    assert_near(table.weights_of(order) @ table.bases, dense[order])
    assert_near(table.scores(torch.tensor([1.0, -2.0])), dense @ torch.tensor([1.0, -2.0], dtype=torch.float64))


@pytest.mark.parametrize("groups", [GROUPS, [0] * ROWS, [3] * 3], ids=["4 groups", "1 group", "no bytes"])
@for_each("ids", [[ROWS], [-1], [0, 2**40]])
def test_window_coded_refuses_ids_outside_the_table(ids: list[int], groups: list[int]) -> None:
    """Too large an id and a negative one are an IndexError: no row is taken from the other end."""
    with pytest.raises(IndexError):
        make_table(groups=groups)(torch.tensor(ids))


def test_window_coded_refuses_ids_where_no_row_has_bytes() -> None:
    """One group whose columns have no bits at all is a table of zeros, with its number of rows."""
    codebook = WindowCodebook(torch.zeros(1, 2, dtype=torch.uint8), torch.zeros(1, 2), {}, torch.zeros(0))
    table = WindowCodedRepresentation.from_codes(
        codes=[torch.zeros(3, 0, dtype=torch.uint8)],
        groups_of_rows=None,
        codebook=codebook,
        bases=torch.ones(2, 4),
        shape=4,
        dtype=torch.float32,
    )
    assert torch.equal(table(), torch.zeros(3, 4))
    with pytest.raises(IndexError, match=r"0\.\.2; got 3\."):
        table(torch.tensor([3]))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.complex64], ids=str)
def test_window_coded_refuses_ids_that_are_no_integers(dtype: torch.dtype) -> None:
    """A mask is no list of ids, and 2.7 is no row: TypeError."""
    with pytest.raises(TypeError, match="ids must be integers"):
        make_table()(torch.ones(ROWS).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@for_each("shape", SHAPES)
@for_each("has_bases", [True, False])
@for_each("normalizer", [None, "normalize"])
def test_window_coded_gradients(
    shape: tuple[int, ...], dtype: torch.dtype, has_bases: bool, normalizer: str | None
) -> None:
    """Gradients of rows and scores to bases, levels and scales are those of finite differences, to 1e-6 in float64."""
    table = make_table(shape, dtype, has_bases=has_bases, row_options={"normalizer": normalizer})
    names = [name for name, _ in table.named_parameters()]
    assert names == (["bases"] if has_bases else []) + ["levels", "scales"]
    ids = torch.tensor([[2, 5], [2, 1], [0, 4]])
    query = torch.randn(2, *shape, dtype=dtype, generator=torch.Generator().manual_seed(2))

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = table

        def forward(self) -> tuple[Tensor, Tensor]:
            rows = table(ids)
            # the two rows of group 3 are zeros, which no normalizer can differentiate
            return torch.view_as_real(rows) if rows.is_complex() else rows, table.scores(query)[:, [0, 1, 2, 4]]

    def evaluate(*values: Tensor) -> tuple[Tensor, Tensor]:
        parameters = {f"table.{name}": value for name, value in zip(names, values, strict=True)}
        return torch.func.functional_call(Both(), parameters, ())  # type: ignore[no-any-return]

    start = tuple(value.detach().requires_grad_() for value in table.parameters())
    assert torch.autograd.gradcheck(evaluate, start, eps=1e-6, atol=1e-6, rtol=1e-6, fast_mode=True)


def test_window_coded_learns_only_what_was_looked_up() -> None:
    """A step on a row of group 2 changes the scales of the 5 columns it codes, no other scale, and no code."""
    table = make_table()
    before = {name: value.detach().clone() for name, value in table.state_dict().items()}
    optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
    table(torch.tensor([4, 0, 4])[[0, 2]]).square().sum().backward()
    optimizer.step()
    table.post_parameter_update()
    table.reset_parameters()
    changed = {name: value != before[name] for name, value in table.state_dict().items()}
    assert changed["scales"].nonzero().tolist() == [[2, column] for column in (0, 1, 2, 4, 5)]
    assert changed["bases"].any(dim=1).nonzero().flatten().tolist() == [0, 1, 2, 4, 5]
    assert {name for name, values in changed.items() if values.any()} == {"bases", "levels", "scales"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.complex64], ids=str)
@for_each("has_bases", [True, False])
@for_each("groups", [GROUPS, [0] * ROWS])
@for_each("lead", [(), (2,), (2, 3), (0,)])
def test_window_coded_scores_are_those_of_the_dense_table(
    dtype: torch.dtype, has_bases: bool, groups: list[int], lead: tuple[int, ...], device: str
) -> None:
    """Scores are Re sum(query * conj(row)) over the dense rows, in the dtype of the rows."""
    parts = make_parts((3, 2), dtype, groups=groups, has_bases=has_bases)
    table = WindowCodedRepresentation.from_codes(**parts).to(device)
    query = torch.randn(*lead, 3, 2, dtype=dtype, generator=torch.Generator().manual_seed(3))
    scores = table.scores(query.to(device))
    dense = multiply_out(parts)
    expected = torch.einsum("...ab,nab->...n", query.to(dense.dtype), dense.conj())
    assert scores.dtype == dtype.to_real()
    assert_near(scores, expected.real)


def test_window_coded_scores_normalized_rows() -> None:
    """With a normalizer, scores are inner products with rows of unit norm; zero rows score 0."""
    parts = make_parts((3, 2), torch.float64)
    table = WindowCodedRepresentation.from_codes(**parts, normalizer="normalize", dropout=0.5)
    dense = nn.functional.normalize(multiply_out(parts).flatten(1)).view(ROWS, 3, 2)
    query = torch.randn(4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert_near(table.scores(query), torch.einsum("qab,nab->qn", query, dense))


@pytest.mark.parametrize(
    ("query", "dtype"), [(torch.ones(3), torch.float32), (torch.ones(6), torch.complex64)], ids=str
)
def test_window_coded_refuses_queries_of_other_shapes(query: Tensor, dtype: torch.dtype) -> None:
    """A query of another shape, or a real one for complex rows, is a ValueError that tells both."""
    with pytest.raises(ValueError, match=r"a query is torch.* of shape \(\.\.\., \(6,\)\); got torch.float32"):
        make_table((6,), dtype).scores(query)


class Widest(TorchDispatchMode):
    """Remembers the largest number of entries that any operation gave."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and look at its result."""
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, list | tuple) else [result]:
            self.entries = max(self.entries, part.numel() if isinstance(part, Tensor) else 0)
        return result


def test_window_coded_scores_never_build_the_table() -> None:
    """No operation of a head's scores gives as many entries as half the table has."""
    rows, dim = 4 * BLOCK_ROWS, 100
    head = LowRankHead(make_table((dim,), groups=(GROUPS * rows)[:rows]), nn.Parameter(torch.ones(rows)))
    query = torch.full((2, dim), 2.0**-7)
    with Widest() as widest, torch.no_grad():
        scores = head(query)
    assert widest.entries < rows * dim / 2
    assert_near(scores, head.table().detach().double().sum(dim=1).expand(2, -1) / 2**7 + 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@for_each("groups", [GROUPS, [0] * ROWS])
def test_window_coded_state_dict_round_trip(dtype: torch.dtype, groups: list[int]) -> None:
    """Another table of the same sizes, with rows of each group in other places, loads strictly and is the same."""
    table = make_table((3, 2), dtype, groups=groups)
    other = make_table((3, 2), dtype, groups=groups[::-1], seed=7)
    assert not torch.equal(other(), table())
    state = torch.load(save_to_memory(table.state_dict()), weights_only=True)
    codes = [f"codes_{group}" for group in range(4 if max(groups) else 1)]
    assert sorted(state) == sorted(
        ["bases", "bits", "levels", "scales", "windows", *codes, *(["groups_of_rows"] if max(groups) else [])]
    )
    other.load_state_dict(state, strict=True)
    assert torch.equal(other(), table())
    nested = nn.ModuleDict({"entity": make_table((3, 2), dtype, groups=groups[::-1], seed=7).to("meta")})
    nested.load_state_dict({f"entity.{key}": value for key, value in state.items()}, assign=True)
    assert torch.equal(nested["entity"].to("cpu")(), table())


def test_window_coded_state_dict_takes_the_bits_with_the_codes() -> None:
    """Bits in other columns, with strings of the same length, come with the state dict."""
    parts = make_parts()
    table = WindowCodedRepresentation.from_codes(**parts)
    book = parts["codebook"]
    turned = WindowCodebook(book.bits.flip(1), book.scales, book.windows, book.levels)
    other = WindowCodedRepresentation.from_codes(**{**parts, "codebook": turned})
    assert not torch.equal(other(), table())
    other.load_state_dict(table.state_dict())
    assert torch.equal(other(), table())


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("groups_of_rows", lambda groups: groups.clone().fill_(2), r"puts \[0, 0, 11, 0\] rows into the groups"),
        ("bits", lambda bits: bits.clone().fill_(8), "by its bits"),
        (
            "windows",
            lambda windows: (windows > 0) * torch.tensor([0, 4, 4, 4, 0, 0, 0, 0, 8, 3], dtype=torch.uint8),
            "levels in one list",
        ),
    ],
)
def test_window_coded_refuses_state_dicts_that_do_not_fit(key: str, change: Any, message: str) -> None:
    """Codes that bits or groups of the same state dict do not fit are no rows: load_state_dict says why."""
    table = make_table()
    state = table.state_dict()
    with pytest.raises(RuntimeError, match=message):
        make_table().load_state_dict({**state, key: change(state[key])})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_window_coded_casts_rows_not_what_decodes_them(dtype: torch.dtype) -> None:
    """half(), bfloat16() and double() change the dtype of rows; small scales stay as they are, in float32 or wider."""
    parts = make_parts()
    book = parts["codebook"]
    parts["codebook"] = WindowCodebook(book.bits, book.scales * 1e-6, book.windows, book.levels)
    parts["bases"] *= 1e6
    table, dense = WindowCodedRepresentation.from_codes(**parts), multiply_out(parts)
    codes = [part.clone() for part in table.codes]
    table.to(dtype)
    assert table.dtype == table().dtype == table(torch.tensor([1])).dtype == dtype
    kept_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    assert {parameter.dtype for parameter in table.parameters()} == {kept_dtype}
    assert all(map(torch.equal, table.codes, codes))
    # as made in float32: a tolerance of its rounding, or of the rows'
    torch.testing.assert_close(table().detach().double(), dense, rtol=0, atol=max(200 * torch.finfo(dtype).eps, 2e-5))
    table.float()
    assert table.dtype == torch.float32
    assert_near(table(), dense)


def test_window_coded_deepcopy_and_inference_mode_share_nothing_with_training() -> None:
    """A table first looked up in inference mode trains later; a deep copy of it is changed alone."""
    table = make_table()
    with torch.inference_mode():
        rows = table()
    twin = copy.deepcopy(table)
    table().sum().backward()
    assert table.scales.grad is not None
    with torch.no_grad():
        twin.scales.add_(1)
        twin.codes[0].add_(1)
    assert torch.equal(table(), rows)
    assert not torch.equal(twin(), rows)
    assert twin.scales.grad is None


def test_window_coded_shares_the_memory_of_the_codes() -> None:
    """Codes and groups are taken without a copy; repr tells columns and bits an entry."""
    parts = make_parts()
    table = WindowCodedRepresentation.from_codes(**parts, trainable=False)
    assert [part.data_ptr() for part in table.codes] == [part.data_ptr() for part in parts["codes"]]
    # 4 rows of 9 bits in 2 bytes, 5 rows of 11 bits in 2 bytes, 2 rows of none; 2 bits for the group of each of 11 rows
    per_entry = (8 * (4 * 2 + 5 * 2) + 11 * 2) / (ROWS * 6)
    assert f"trainable=0, num_bases=6, bits_per_entry={per_entry:.3g}" in repr(table)


def test_window_coded_rows_serve_as_a_base_of_a_backfill() -> None:
    """A backfill over a coded table gives its rows for the base ids, and draws new ones in their dtype."""
    table = make_table((3, 2))
    grown = BackfillRepresentation(max_id=ROWS + 4, base_ids=range(2, ROWS + 2), base=table)
    assert torch.equal(grown(torch.arange(2, ROWS + 2)), table())
    assert grown(torch.tensor([0])).isfinite().all()


def test_window_coded_takes_the_place_of_embeddings(tmp_path: Path) -> None:
    """apply_to puts tables of a file of schema 1 in place, with the rows that load gives, in the model's dtype."""
    # no torch.nn.Embedding has complex rows of two axes
    document = json.loads(safetensors.safe_open(COMMITTED, "pt").metadata()["embcompress"])
    del document["tables"]["complex.weight"]
    tensors = {
        name: tensor
        for name, tensor in safetensors.torch.load_file(COMMITTED).items()
        if not name.startswith("complex.weight")
    }
    path = tmp_path / "real.safetensors"
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt", "embcompress": json.dumps(document)})
    tables = embcompress.load(COMMITTED)
    names = ["flat.weight", "signs.weight", "words.weight"]
    model = nn.ModuleDict({name.removesuffix(".weight"): nn.Embedding(*tables[name]().shape) for name in names})
    model["head"] = nn.Linear(48, 2500, bias=False)
    model["head"].weight = model["flat"].weight
    placed = embcompress.apply_to(model.double(), path)
    assert placed == {name: model[name.removesuffix(".weight")] for name in names}
    ids = torch.tensor([[299, 0], [7, 7]])
    for name in names:
        table, rows = tables[name], placed[name](ids)
        assert isinstance(placed[name], WindowCodedRepresentation)
        assert rows.dtype == torch.float64
        # sums of 64 products in float32 and in float64: 64 roundings of the largest
        tolerance = 64 * 2.0**-23 * float(table().detach().abs().max())
        torch.testing.assert_close(rows.detach(), table(ids).detach().double(), rtol=0, atol=tolerance)
    query = torch.ones(48, dtype=torch.float64)
    expected = placed["flat.weight"]().sum(dim=1)
    torch.testing.assert_close(model["head"](query), expected, rtol=1e-12, atol=1e-12)


def test_window_coded_reshapes_only_to_as_many_entries() -> None:
    """Rows of 6 reals become 3 complex numbers of the same parts, and no 5 reals."""
    table = make_table((6,))
    other = table.reshape(shape=3, dtype=torch.complex64, trainable=False)
    assert torch.equal(torch.view_as_real(other()).flatten(1), table())
    with pytest.raises(ValueError, match=r"rows have 6 real entries; got the shape \(5,\)"):
        table.reshape(shape=5, dtype=torch.float32, trainable=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": torch.int32}, "rows are floats or complex numbers; got torch.int32"),
        ({"groups_of_rows": None}, "groups_of_rows is missing: there are 4 groups"),
        ({"groups_of_rows": torch.zeros(ROWS, dtype=torch.uint8)}, r"puts \[11, 0, 0, 0\] rows .* have \[4, 0, 5, 2\]"),
        ({"groups_of_rows": torch.zeros(ROWS)}, "must be torch.uint8"),
        ({"groups_of_rows": torch.full((ROWS,), 4, dtype=torch.uint8)}, r"puts \[0, 0, 0, 0, 11\] rows"),
        ({"bases": torch.ones(5, 6)}, r"bases must be real, \(6, 6\)"),
        ({"bases": torch.ones(6, 6, dtype=torch.complex64)}, "got torch.complex64"),
        ({"bases": None, "shape": 5}, "the 5 real entries of a row; the codebook has 6"),
        ({"codes": [torch.zeros(ROWS, 2, dtype=torch.uint8)]}, "has 4 groups; got codes of 1"),
        ({"codes": [torch.zeros(3, 1, dtype=torch.uint8)] * 4}, r"codes of group 0 must be torch.uint8 \(rows, 2\)"),
        ({"codes": [torch.zeros(3, 2, dtype=torch.int8)] * 4}, "got torch.int8"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_window_coded_refuses_parts_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    """Parts of other sizes or dtypes are a ValueError that names the part, what was found and what is needed."""
    with pytest.raises(ValueError, match=message):
        WindowCodedRepresentation.from_codes(**{**make_parts(), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": torch.ones(6, dtype=torch.uint8)}, r"\(groups, columns\); got \(6,\)"),
        ({"bits": torch.full((4, 6), 10, dtype=torch.uint8)}, "0 to 8 bits, or 9 for half a bit; got 10 to 10"),
        ({"bits": torch.full((4, 6), 5, dtype=torch.uint8)}, r"columns of \[5\] bits"),
        ({"windows": {2: 4, 1: 4, 3: 3, 8: 8, 9: 3}}, "must be ascending"),
        ({"windows": {1: 4, 2: 4, 3: 2, 8: 8, 9: 3}}, "its column's at least"),
        ({"windows": {1: 9, 2: 4, 3: 3, 8: 8, 9: 3}}, "of 1 to 8 bits"),
        ({"levels": torch.ones(7)}, r"need 312 levels in one list; got \(7,\)"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_window_coded_refuses_codebooks_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    """A codebook whose parts contradict each other is a ValueError that says which."""
    parts = make_parts()
    book = parts["codebook"]
    arguments = {"bits": book.bits, "scales": book.scales, "windows": book.windows, "levels": book.levels, **changes}
    parts["codebook"] = WindowCodebook(**arguments)
    with pytest.raises(ValueError, match=message):
        WindowCodedRepresentation.from_codes(**parts)
