"""Lookups of coded tables as one operator: compiled, exported, traced, mapped; of both schemas."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from embcompress.nn import CodedRepresentation
from tests.cases import for_each
from tests.nn.coded_tables import make_table
from tests.nn.window_tables import make_table as make_window_table

TABLES: dict[str, Callable[[], nn.Module]] = {
    "centers": lambda: make_table((3, 2), way="centers")[0],
    "bases": lambda: make_table((3,), torch.complex64, way="bases")[0],
    "windows": lambda: make_window_table((3, 2)),
    "windows of one group": lambda: make_window_table((3, 2), groups=[0] * 10),
}
IDS = torch.tensor([[1, 2, 5], [3, 0, 5]])
OTHER_IDS = torch.tensor([[7, 3], [0, 9], [2, 2], [4, 1]])


def gradients_of(table: nn.Module, look_up: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Return the gradients of a sum of squares of some rows."""
    rows = look_up(IDS)
    parameters = [parameter for parameter in table.parameters() if parameter.requires_grad]
    return list(torch.autograd.grad((rows * rows.conj()).real.sum(), parameters))


def call_of(table: Any, ids: Tensor) -> tuple[Any, tuple[Any, ...]]:
    """Give the operator of a table, and its arguments."""
    if isinstance(table, CodedRepresentation):
        buffers = (table.codes, table.kinds, table.lengths, table.codebook_bytes)
        return torch.ops.embcompress.decode_rows.default, (ids, *buffers, table.num_bases, None, None)
    windows = (list(table.codes), table.groups_of_rows, table.bits, table.windows)
    return torch.ops.embcompress.window_levels.default, (ids, *windows)


@pytest.mark.parametrize("name", TABLES)
def test_lookups_compile_without_a_break(name: str) -> None:
    """fullgraph=True gives the rows and gradients of the eager module, for other counts of ids too."""
    torch._dynamo.reset()
    table = TABLES[name]()
    compiled = torch.compile(table, fullgraph=True, backend="aot_eager", dynamic=True)
    for ids in (IDS, OTHER_IDS):
        torch.testing.assert_close(compiled(ids), table(ids), rtol=1e-6, atol=1e-6)
    for one, other in zip(gradients_of(table, compiled), gradients_of(table, table), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["centers", "windows"])
def test_lookups_export_with_a_free_count_of_ids(name: str) -> None:
    """An exported program gives the rows of ids that it was not exported with, and of another count."""
    table = TABLES[name]()
    program = torch.export.export(table, (IDS,), dynamic_shapes=({0: torch.export.Dim("n"), 1: torch.export.Dim("m")},))
    torch.testing.assert_close(program.module()(OTHER_IDS), table(OTHER_IDS), rtol=1e-6, atol=1e-6)


@for_each("name", list(TABLES))
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_lookups_are_traced_and_mapped(name: str) -> None:
    """torch.jit.trace records the operator, not the rows of its example; vmap maps over either axis of ids."""
    table = TABLES[name]().requires_grad_(False)
    traced = torch.jit.trace(table, (IDS,), check_trace=False)
    torch.testing.assert_close(traced(OTHER_IDS), table(OTHER_IDS), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.vmap(table)(OTHER_IDS), table(OTHER_IDS), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.vmap(table, in_dims=1)(OTHER_IDS), table(OTHER_IDS.T), rtol=1e-6, atol=1e-6)
    operator, (ids, *others) = call_of(table, OTHER_IDS)
    batches = [torch.stack([other] * 4) if isinstance(other, Tensor) else other for other in others]
    in_dims = [0 if isinstance(other, Tensor) else None for other in others]
    with pytest.raises(NotImplementedError, match="vmap over the codes of tables"):
        torch.vmap(operator, in_dims=(0, *in_dims))(ids, *batches)


@for_each("name", list(TABLES))
def test_operators_keep_their_promises(name: str) -> None:
    """Torch's own checks of an operator's schema, shapes and traces pass; an id outside is an IndexError."""
    operator, arguments = call_of(TABLES[name](), OTHER_IDS.flatten())
    torch.library.opcheck(operator, arguments)
    with pytest.raises(IndexError, match=r"ids must be in 0\.\.\d+; got -1\.\.9\."):
        operator(torch.tensor([9, -1]), *arguments[1:])


@pytest.mark.parametrize(("context", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_of_a_loader_look_rows_up(context: str, workers: int) -> None:
    """Workers that got the table by a fork after lookups, or pickled, give its rows."""
    table = TABLES["centers"]().requires_grad_(False)
    expected = table(torch.arange(40))
    loader = DataLoader(
        range(40), batch_size=20, collate_fn=table, num_workers=workers, multiprocessing_context=context
    )
    assert torch.equal(torch.cat(list(loader)), expected)


def test_lookups_of_several_threads_are_those_of_one() -> None:
    """Lookups at the same time, of ids that do not lie in one piece, give what they give alone."""
    table = TABLES["centers"]().requires_grad_(False)
    lists = [torch.randint(40, (2 * 700,), generator=torch.Generator().manual_seed(seed))[::2] for seed in range(8)]
    expected = [table(ids) for ids in lists]
    with ThreadPoolExecutor(4) as pool:
        assert all(map(torch.equal, pool.map(table, lists), expected))
