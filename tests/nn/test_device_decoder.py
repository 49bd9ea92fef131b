"""The decoder of coded rows on a GPU: in Triton's interpreter, through its compiler, and on a GPU if there is one."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from embcompress.coding.symbols import trellis_of
from embcompress.nn import CodedRepresentation
from embcompress.nn.coded_base import GPU_NUMBERS
from embcompress.nn.decode_operator import decode_rows
from embcompress.nn.device_decoder import decode_on_device
from tests.nn.coded_tables import ROWS, WAYS, encode_table, make_table
from tests.nn.device_tables import buffers_of, decode_both_ways, decode_shapes, make_device_table, make_wild_table


def find_triton() -> tuple[int, ...]:
    """Tell the version of Triton, (0,) where there is none."""
    try:
        return tuple(map(int, importlib.metadata.version("triton").split(".")[:2]))
    except importlib.metadata.PackageNotFoundError:
        return (0,)


# The interpreter of older ones fails with NumPy 2.4, the compiler's arguments have other names.
needs_triton = pytest.mark.skipif(
    find_triton() < (3, 7), reason="there is no Triton 3.7 or newer: it comes with torch for CUDA"
)


@pytest.fixture(scope="module")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """Start a process in which Triton interprets kernels: it reads that from its environment, once, and stays so."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            pool.submit(abs, 0).result()
        yield pool


@pytest.mark.parametrize("states", [4, 8, 32, 256])
def test_register_follows_the_trellis(states: int) -> None:
    """The lowest bit of the register is the set of the state, after each of 200 symbols."""
    trellis, (odd_taps, set_taps) = trellis_of(states), trellis_of(states).taps
    state = register = 0
    for odd in np.random.default_rng(states).integers(0, 2, 200).tolist():
        own_set = int(trellis.sets[state])
        assert register & 1 == own_set
        register = (register >> 1) ^ (odd * odd_taps) ^ (own_set * set_taps)
        state = (2 * state + (odd ^ int(trellis.parities[state]))) % states


def test_kernels_that_do_not_run_are_told_of_once() -> None:
    """Where a kernel cannot be started there is no result, one warning, and no second start; without any, no word."""
    table, starts = make_table((2,), way="centers")[0], []
    kernels = ModuleType("kernels_that_do_not_run")

    def decode(*_: Any, **__: Any) -> None:
        starts.append(1)
        raise OSError("no compiler")

    kernels.REFUSALS, kernels.decode = (OSError,), decode  # type: ignore[attr-defined]
    arguments: tuple[Any, ...] = (torch.arange(3), buffers_of(table), lambda: make_device_table(table))
    with pytest.warns(UserWarning, match=r"decoded by the CPU, which is slower: .* \(no compiler\)"):
        assert decode_on_device(*arguments, scales=None, centers=None, kernels=kernels) is None
    assert decode_on_device(*arguments, scales=None, centers=None, kernels=kernels) is None
    assert decode_on_device(*arguments, scales=None, centers=None, kernels=None) is None
    assert len(starts) == 1


@needs_triton
@pytest.mark.parametrize("name", [*WAYS, "wild"])
def test_interpreted_kernel_decodes_as_the_cpu_does(name: str, interpreter: ProcessPoolExecutor) -> None:
    """Rows in any order, with scales and centers or without, are those of the compiled decoder, bit for bit."""
    for actual, expected in interpreter.submit(decode_both_ways, name).result():
        assert actual == expected


@needs_triton
def test_interpreted_kernel_takes_no_ids_and_refuses_those_outside(interpreter: ProcessPoolExecutor) -> None:
    """No ids give no rows; an id that is not that of a row is refused before a kernel is started."""
    assert interpreter.submit(decode_shapes, []).result() == [(0, 3), (0,)]
    with pytest.raises(IndexError):
        interpreter.submit(decode_shapes, [40]).result()


@needs_triton
def test_kernel_compiles_for_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler takes the kernel, which the interpreter checks less of; no product is rounded with a sum at once."""
    triton: Any = importlib.import_module("triton")
    compiler: Any = importlib.import_module("triton.backends.compiler")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernels: Any = importlib.import_module("embcompress.coding.triton_kernels")
    constants = {
        "kind_mask": 0xFFFF, "length_mask": 0xFFFFFFFF, "has_scales": True, "has_centers": True, "block": kernels.LANES
    }  # fmt: skip
    arrays = [
        "i64", "i16", "u8", "i32", "i64", "i64", "i64", "fp32", "i32", "i32", "i64", "u8", "i64", "i32", "fp32", "fp32",
        "fp32", "i64",
    ]  # fmt: skip
    names = kernels.decode_lanes.arg_names
    types = [*(f"*{kind}" for kind in arrays), *["i32"] * 5, *["constexpr"] * len(constants)]
    signature = dict(zip(names, types, strict=True))
    source = triton.compiler.ASTSource(
        fn=kernels.decode_lanes,
        signature=signature,
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    compiled = triton.compile(source, target=compiler.GPUTarget("cuda", 90, 32), options=kernels.OPTIONS)
    assert "fma.rn.f32" not in compiled.asm["ptx"]
    assert compiled.metadata.shared == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: torch.cuda.is_available() is False")
@needs_triton
@torch.no_grad()
def test_gpu_decodes_as_the_cpu_does_and_without_waiting() -> None:
    """On a GPU rows are equal bit for bit; after the first lookup none waits for the device; scores stay on it."""
    table = make_wild_table(rows=5000)
    ids = torch.randint(table.max_id, (20000,), generator=torch.Generator().manual_seed(0))
    expected = decode_rows(ids, tuple(buffers_of(table).values()), rank=table.num_bases)
    rows, query = table(ids), torch.linspace(-1, 1, table.num_bases)
    scores = table.scores(query)
    table.cuda()
    own_ids, own_query = ids.cuda(), query.cuda()
    first = table(own_ids)
    torch.cuda.set_sync_debug_mode("error")
    try:
        own_rows = table(own_ids)
        actual = decode_rows(own_ids, tuple(buffers_of(table).values()), rank=table.num_bases)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(first, own_rows)
    assert own_rows.cpu().numpy().tobytes() == rows.numpy().tobytes()
    assert actual[0].cpu().numpy().tobytes() == expected[0].numpy().tobytes()
    assert torch.equal(actual[1].cpu(), expected[1])
    own_scores, (best, places) = table.scores(own_query), table.topk(own_query, k=10)
    assert {own_scores.device.type, best.device.type, places.device.type} == {"cuda"}
    # Sums of seven products in float32, in any order.
    torch.testing.assert_close(own_scores.cpu(), scores, rtol=1e-5, atol=1e-5 * float(scores.abs().max()))
    assert torch.equal(own_scores[places], best)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: torch.cuda.is_available() is False")
@torch.no_grad()
def test_scores_on_a_gpu_go_over_all_blocks() -> None:
    """Of 5 million rows, 40 again and again, all have the scores of these, and the highest are those of the best."""
    encoded = encode_table((6,), way="centers")
    table = CodedRepresentation.from_codes(**encoded.repeat(2**17).parts).cuda()
    assert table.max_id * table.num_bases > GPU_NUMBERS
    query = torch.linspace(-1, 1, 6)
    expected = encoded.dense @ query.double()
    scores = table.scores(query.cuda()).cpu().double().view(-1, ROWS)
    # Sums of six products in float32.
    torch.testing.assert_close(scores, expected.expand_as(scores), rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    ids = table.topk(query.cuda(), k=10)[1]
    assert len(set(ids.tolist())) == 10
    assert {number % ROWS for number in ids.tolist()} == {int(expected.argmax())}
