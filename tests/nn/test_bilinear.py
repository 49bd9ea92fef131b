"""Low-rank bilinear forms: equal to the dense form in float64, trainable, and W never formed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from embcompress.nn import LowRankBilinear, LowRankInterdependence
from embcompress.nn.bilinear import INTERDEPENDENCES
from tests import fixtures
from tests.cases import for_each

draw = partial(fixtures.draw, dtype=torch.float64)

IN1, IN2, OUT = 7, 5, 4
LEADS = {"one pair": (), "batch": (6,), "grid": (3, 2), "three axes": (2, 3, 2), "empty": (0,)}


def make(rank: int = 3, *, bias: bool = True, dtype: torch.dtype = torch.float64, seed: int = 1) -> LowRankBilinear:
    """Draw a form of rank `rank` from a seed."""
    generator = torch.Generator().manual_seed(seed)
    return LowRankBilinear(IN1, IN2, OUT, rank, bias=bias, dtype=dtype, generator=generator)


def evaluate(form: LowRankBilinear, x1: Tensor, x2: Tensor) -> Tensor:
    """Evaluate every form on pairs (*s, in), by forming W in float64: the definition."""
    weight = torch.einsum("oik,ojk->oij", form.left.detach().double(), form.right.detach().double())
    values = torch.einsum("...i,oij,...j->...o", x1.double(), weight, x2.double())
    return values if form.bias is None else values + form.bias.detach().double()


def bound(form: LowRankBilinear, x1: Tensor, x2: Tensor, *, dtype: torch.dtype) -> Tensor:
    """Bound the rounding of a form: (in1 + in2 + rank + 1) eps of the sum of the moduli of all products.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., equation 3.5, with eps = 2u for the rest.
    """
    weight = torch.einsum("oik,ojk->oij", form.left.detach().double().abs(), form.right.detach().double().abs())
    moduli = torch.einsum("...i,oij,...j->...o", x1.double().abs(), weight, x2.double().abs())
    if form.bias is not None:
        moduli = moduli + form.bias.detach().double().abs()
    return (form.in1_features + form.in2_features + form.rank + 1) * torch.finfo(dtype).eps * moduli


class Shapes(TorchDispatchMode):
    """Remembers the shapes of all tensors that any operation gave."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and look at its results."""
        result = func(*args, **(kwargs or {}))
        self.seen |= {tuple(leaf.shape) for leaf in tree_leaves(result) if isinstance(leaf, Tensor)}
        return result

    @property
    def largest(self) -> int:
        """The most entries of one tensor."""
        return max(math.prod(shape) for shape in self.seen)


# -------------------------------------------------------------------------------------------------- LowRankBilinear


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=str)
@for_each("bias", [True, False])
def test_full_rank_is_torchs_bilinear(dtype: torch.dtype, tolerance: float, bias: bool) -> None:
    """At full rank the forms and their gradients are those of torch.nn.Bilinear, to 1e-5 and 1e-12."""
    torch.manual_seed(0)
    dense = nn.Bilinear(IN1, IN2, OUT, bias=bias, dtype=dtype)
    form = LowRankBilinear.from_dense(dense.weight, min(IN1, IN2), bias=dense.bias)
    assert (form.bias is None) == (not bias)
    x1, x2 = (draw(20, size, dtype=dtype).requires_grad_() for size in (IN1, IN2))
    actual, expected = form(x1, x2), dense(x1, x2)
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
    weights = draw(20, OUT, seed=5, dtype=dtype)
    inputs = (x1, x2) if dense.bias is None else (x1, x2, dense.bias)
    ours = (x1, x2) if form.bias is None else (x1, x2, form.bias)
    theirs = torch.autograd.grad((expected * weights).sum(), inputs)
    for one, other in zip(torch.autograd.grad((actual * weights).sum(), ours), theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@for_each("bias", [True, False])
@for_each("rank", [1, 3, 5])
@for_each("lead", LEADS.values())
def test_forms_of_pairs(device: str, dtype: torch.dtype, lead: tuple[int, ...], rank: int, bias: bool) -> None:
    """Pairs of any leading axes give x1^T A B^T x2 + b, in the dtype, on every device, to its rounding."""
    form = make(rank, bias=bias, dtype=dtype)
    x1, x2 = draw(*lead, IN1, seed=2, dtype=dtype), draw(*lead, IN2, seed=3, dtype=dtype)
    actual = form.to(device)(x1.to(device), x2.to(device)).detach().cpu()
    assert (actual.shape, actual.dtype) == ((*lead, OUT), dtype)
    form.cpu()
    assert bool(((actual.double() - evaluate(form, x1, x2)).abs() <= bound(form, x1, x2, dtype=dtype)).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@for_each("bias", [True, False])
@for_each("lead", [(), (3,), (2, 3), (0,)])
def test_forms_of_all_pairs(device: str, dtype: torch.dtype, lead: tuple[int, ...], bias: bool) -> None:
    """Each x1 with each x2 gives what a loop over both gives, at [..., i, j, o]."""
    form = make(3, bias=bias, dtype=dtype)
    x1, x2 = draw(*lead, 6, IN1, seed=2, dtype=dtype), draw(*lead, 8, IN2, seed=3, dtype=dtype)
    actual = form.to(device).all_pairs(x1.to(device), x2.to(device)).detach().cpu().double()
    assert actual.shape == (*lead, 6, 8, OUT)
    form.cpu()
    for i in range(6):
        for j in range(8):
            one, two = x1[..., i, :], x2[..., j, :]
            slack = bound(form, one, two, dtype=dtype)
            assert bool(((actual[..., i, j, :] - evaluate(form, one, two)).abs() <= slack).all())


def test_forms_of_views() -> None:
    """Inputs that are transposed, repeated without a copy, or mapped over by vmap give the same values."""
    form = make()
    x1, x2 = draw(IN1, 6).T, draw(IN2, 3, 6).permute(2, 1, 0)  # (6, IN1), (6, 3, IN2)
    repeated = x1[:, None].expand(6, 3, IN1)
    expected = evaluate(form, repeated, x2)
    torch.testing.assert_close(form(repeated, x2).detach(), expected, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(torch.vmap(form)(repeated, x2).detach(), expected, rtol=1e-13, atol=1e-13)
    pairs = form.all_pairs(x1, x2.transpose(0, 1)).detach()  # (3, 6, 6, OUT), x1 with each of three
    expected = evaluate(form, x1[None, :, None], x2.transpose(0, 1)[:, None])
    torch.testing.assert_close(pairs, expected, rtol=1e-13, atol=1e-13)


def test_to_dense_is_the_weight_of_torchs_bilinear() -> None:
    """`to_dense` gives A B^T (out, in1, in2): as the weight of nn.Bilinear it gives the same values."""
    form = make()
    dense = nn.Bilinear(IN1, IN2, OUT, dtype=torch.float64)
    dense.load_state_dict({"weight": form.to_dense().detach(), "bias": form.state_dict()["bias"]})
    x1, x2 = draw(9, IN1), draw(9, IN2, seed=1)
    torch.testing.assert_close(dense(x1, x2), form(x1, x2), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("method", ["forward", "all_pairs"])
def test_forms_learn(method: str) -> None:
    """Gradients with respect to both inputs, both factors and the bias are those of finite differences."""
    form = make(2)
    names = [name for name, _ in form.named_parameters()]
    assert names == ["left", "right", "bias"]

    class Called(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.form = form

        def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
            result: Tensor = getattr(self.form, method)(x1, x2)
            return result

    called = Called()

    def apply(x1: Tensor, x2: Tensor, *parameters: Tensor) -> Tensor:
        given = {f"form.{name}": value for name, value in zip(names, parameters, strict=True)}
        result: Tensor = torch.func.functional_call(called, given, (x1, x2))
        return result

    inputs = [draw(3, IN1), draw(3, IN2), *(parameter.detach() for parameter in form.parameters())]
    assert torch.autograd.gradcheck(apply, [value.clone().requires_grad_() for value in inputs])


@pytest.mark.parametrize("rank", [1, 3])
def test_draws_have_the_variance_of_torchs_bilinear(rank: int) -> None:
    """Entries of A B^T have mean 0 and variance 1 / (3 in1), the bias is U(-1, 1) / sqrt(in1), as torch draws both."""
    draws = 200_000  # of independent forms, of each of which one entry is looked at
    form = LowRankBilinear(7, 3, draws, rank, generator=torch.Generator().manual_seed(11))
    entry = (form.left.detach()[:, 4] * form.right.detach()[:, 1]).sum(dim=1).double()  # (draws,)
    squares = entry.square()
    # five standard errors of a mean over independent draws
    assert abs(float(entry.mean())) <= 5 * float(entry.std()) / draws**0.5
    assert float(squares.mean()) == pytest.approx(1 / 21, abs=5 * float(squares.std()) / draws**0.5)
    assert 5 * float(squares.std()) / draws**0.5 < 0.05 / 21  # so that a factor of 1.05 would be seen
    torch.manual_seed(2)
    theirs = nn.Bilinear(7, 3, 20_000).weight.detach().double().square()  # (20000, 7, 3), all independent
    assert float(theirs.mean()) == pytest.approx(1 / 21, abs=5 * float(theirs.std()) / theirs.numel() ** 0.5)
    assert form.bias is not None
    bias = form.bias.detach().double()
    assert 0.999 * 7**-0.5 < float(bias.abs().max()) <= 7**-0.5 * (1 + 1e-6)
    assert float(bias.square().mean()) == pytest.approx(1 / 21, rel=0.01)  # 5 sqrt(4 / 5) / sqrt(draws)


def test_both_factors_are_drawn_alike() -> None:
    """A and B are drawn from one uniform distribution, and a generator repeats the draw, leaving the global one."""
    before = torch.get_rng_state()
    one, two = (LowRankBilinear(40, 30, 50, 8, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())
    assert torch.equal(torch.get_rng_state(), before)
    limit = 3**0.5 * (3 * 40 * 8) ** -0.25
    for factor in (one.left, one.right):
        assert 0.999 * limit < float(factor.detach().abs().max()) <= limit * (1 + 1e-6)
    again = LowRankBilinear(40, 30, 50, 8, generator=torch.Generator().manual_seed(4))
    again.reset_parameters(generator=torch.Generator().manual_seed(3))
    assert torch.equal(again.left, one.left)
    assert torch.equal(again.right, one.right)


@pytest.mark.parametrize("bias", [True, False])
def test_state_dict_round_trip(bias: bool) -> None:
    """A new module loads the state dict strictly and gives the same values to the bit, as does a deep copy."""
    form = make(bias=bias, dtype=torch.float32)
    assert list(form.state_dict()) == ["left", "right", *(["bias"] if bias else [])]
    other = make(bias=bias, dtype=torch.float32, seed=9)
    x1, x2 = draw(6, IN1, dtype=torch.float32), draw(6, IN2, dtype=torch.float32)
    assert not torch.equal(other(x1, x2), form(x1, x2))
    other.load_state_dict(form.state_dict(), strict=True)
    assert torch.equal(other(x1, x2), form(x1, x2))


def test_from_factors_keeps_given_memory_and_the_seed() -> None:
    """Given factors are taken without a copy and nothing is drawn; every parameter trains."""
    left, right, bias = draw(OUT, IN1, 2), draw(OUT, IN2, 2), draw(OUT)
    before = torch.get_rng_state()
    form = LowRankBilinear.from_factors(left=left, right=right, bias=bias)
    assert torch.equal(torch.get_rng_state(), before)
    pointers = [parameter.data_ptr() for parameter in form.parameters()]
    assert pointers == [left.data_ptr(), right.data_ptr(), bias.data_ptr()]
    assert all(parameter.requires_grad for parameter in form.parameters())
    assert "in1_features=7, in2_features=5, out_features=4, rank=2, bias=True, parameters=100" in repr(form)


def test_from_dense_copies_the_bias() -> None:
    """Training the forms leaves the bias that they came with as it was, and needs no graph of the dense weight."""
    bias = nn.Parameter(draw(OUT))
    weight = nn.Parameter(draw(OUT, IN1, IN2))
    form = LowRankBilinear.from_dense(weight, 2, bias=bias)
    assert form.left.is_leaf
    assert form.bias is not None
    assert torch.equal(form.bias, bias)
    with torch.no_grad():
        form.bias.add_(1)
    assert torch.equal(bias, draw(OUT))


def compiled(module: nn.Module) -> Callable[..., Tensor]:
    """Trace a module whole, ahead of time, without a code generator."""
    torch._dynamo.reset()
    function: Callable[..., Tensor] = torch.compile(module, backend="aot_eager", fullgraph=True)
    return function


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
def test_forms_compile() -> None:
    """One graph without breaks gives values and gradients of the eager form to two roundings."""
    form = make()
    x1, x2 = draw(6, IN1).requires_grad_(), draw(6, IN2).requires_grad_()
    inputs = (x1, x2, *form.parameters())
    eager, traced = form(x1, x2), compiled(form)(x1, x2)
    torch.testing.assert_close(traced, eager, rtol=1e-14, atol=1e-14)
    expected = torch.autograd.grad(eager.square().sum(), inputs)
    for one, other in zip(torch.autograd.grad(traced.square().sum(), inputs), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("method", ["forward", "all_pairs"])
def test_forms_never_form_w(method: str) -> None:
    """Forward and backward, no tensor is larger than inputs, factors, projections (n, out, rank) and the result."""
    in1, in2, out, rank, n = 80, 60, 10, 2, 8
    form = LowRankBilinear(in1, in2, out, rank)
    x1, x2 = (torch.randn(n, size, generator=torch.Generator().manual_seed(0)) for size in (in1, in2))
    with Shapes() as shapes:
        getattr(form, method)(x1.requires_grad_(), x2.requires_grad_()).sum().backward()
    assert form.left.grad is not None
    assert shapes.largest == out * in1 * rank == 1600
    assert out * in1 * in2 == 30 * 1600  # W itself; the pairs with their outputs, (n, in1, in2), are 24 times as many
    assert not any({in1, in2} <= set(shape) for shape in shapes.seen)


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 5, 4, 2),
        (7, 0, 4, 2),
        (7, 5, 0, 2),
        (7, 5, 4, 0),
        (7, 5, 4, -1),
        (7, 5, 4, 6),
        (7.0, 5, 4, 2),
        (7, 5, 4, True),
    ],
    ids=str,
)
def test_sizes_that_no_form_has_are_refused(arguments: tuple[Any, ...]) -> None:
    """Sizes below 1, or that are no integers, and a rank above the smaller input, are a ValueError."""
    with pytest.raises(ValueError, match=r"must be (an integer of at least 1|1\.\.5)"):
        LowRankBilinear(*arguments)


@pytest.mark.parametrize(
    ("left", "right", "bias"),
    [
        ((4, 7, 2), (4, 5, 3), None),
        ((4, 7, 2), (3, 5, 2), None),
        ((7, 2), (5, 2), None),
        ((4, 7, 2), (4, 5, 2), (3,)),
        ((4, 7, 2), (4, 5, 2), (4, 1)),
        ((4, 7, 2), (4, 5), None),
    ],
    ids=str,
)
def test_factors_that_do_not_fit_are_refused(
    left: tuple[int, ...], right: tuple[int, ...], bias: tuple[int, ...] | None
) -> None:
    """Factors of different ranks, outputs or axes, or a bias of another length, are a ValueError with all shapes."""
    with pytest.raises(ValueError, match="must agree") as failure:
        LowRankBilinear.from_factors(
            left=torch.ones(left), right=torch.ones(right), bias=None if bias is None else torch.ones(bias)
        )
    assert f"got {left}, {right} and {bias}" in str(failure.value)


def test_a_weight_that_is_no_batch_of_matrices_is_refused() -> None:
    """A matrix, and a tensor of four axes, are a ValueError that shows the shape."""
    for shape in ((7, 5), (2, 4, 7, 5)):
        with pytest.raises(ValueError, match=r"must be real, \(out, in1, in2\); got") as failure:
            LowRankBilinear.from_dense(torch.ones(shape), 1)
        assert str(shape) in str(failure.value)


def test_inputs_of_other_widths_are_refused() -> None:
    """Inputs whose columns are not in1 and in2, or that were exchanged, fail."""
    form = make()
    for wrong in ((draw(6, IN2), draw(6, IN1)), (draw(6, IN1 + 1), draw(6, IN2)), (draw(6, IN1), draw(5, IN2))):
        with pytest.raises(RuntimeError):
            form(*wrong)


# ------------------------------------------------------------------------------------------- LowRankInterdependence


def dense_interdependence(flat: Tensor, batch: Tensor, *, rank: int, kind: str) -> tuple[Tensor, Tensor]:
    """Compute A and the result from tinyBIG's flat parameters by forming W, entry by entry of its layout, in float64.

    The first n r numbers are A_factor (n, r) row by row; the rest is (r, n), which is B^T.
    """
    numbers, x = flat.double().flatten().tolist(), batch.double()
    n = batch.shape[0] if kind == "attribute" else batch.shape[1]
    first, rest = numbers[: n * rank], numbers[n * rank :]
    weight = torch.tensor(
        [[sum(first[i * rank + k] * rest[k * n + j] for k in range(rank)) for j in range(n)] for i in range(n)],
        dtype=torch.float64,
    )  # (n, n)
    if kind == "attribute":
        interdependence = x.T @ weight @ x
        return interdependence, x @ interdependence
    interdependence = x @ weight @ x.T
    return interdependence, interdependence.T @ x


def side(kind: str, batch: tuple[int, int]) -> int:
    """Return the side of W for a batch (b, m)."""
    return batch[0] if kind == "attribute" else batch[1]


@pytest.mark.parametrize("kind", INTERDEPENDENCES)
@for_each("shape", [(9, 6), (6, 9), (5, 5), (1, 4), (4, 1)])
@for_each(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_interdependence_is_the_dense_one(
    device: str, dtype: torch.dtype, tolerance: float, shape: tuple[int, int], kind: str
) -> None:
    """Result and interdependence are those of W built from tinyBIG's flat vector, at every rank, on every device.

    The tolerance is a share of the largest entry; a few dozen roundings of products over up to 9 entries.
    """
    size = side(kind, shape)
    batch = draw(*shape, seed=4, dtype=dtype)
    for rank in sorted({1, (size + 1) // 2, size}):
        flat = draw(1, 2 * size * rank, seed=5, dtype=dtype)
        form = LowRankInterdependence.from_flat(flat, size=size, rank=rank, kind=kind).to(device)
        expected, result = dense_interdependence(flat, batch, rank=rank, kind=kind)
        for actual, exact in (
            (form(batch.to(device)), result),
            (form.interdependence(batch.to(device)), expected),
        ):
            assert (actual.shape, actual.dtype) == (exact.shape, dtype)
            slack = tolerance * float(exact.abs().max())
            torch.testing.assert_close(actual.detach().cpu().double(), exact, rtol=0, atol=slack)


def test_the_two_kinds_are_not_symmetric() -> None:
    """Of X = I and W = A B^T, attribute gives W itself and instance W^T: neither transposes by mistake."""
    flat = draw(1, 2 * 4 * 2)
    weight = flat[0, :8].view(4, 2) @ flat[0, 8:].view(2, 4)
    assert float((weight - weight.T).abs().max()) > 0.5
    for kind, expected in (("attribute", weight), ("instance", weight.T)):
        form = LowRankInterdependence.from_flat(flat, size=4, rank=2, kind=kind)
        eye = torch.eye(4, dtype=torch.float64)
        torch.testing.assert_close(form(eye).detach(), expected, rtol=1e-15, atol=1e-15)
        torch.testing.assert_close(form.interdependence(eye).detach(), weight, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("kind", INTERDEPENDENCES)
@for_each("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_flat_parameters_go_and_come_back(dtype: torch.dtype, kind: str) -> None:
    """The flat vector counts A row by row, then B^T row by row, and comes back to the bit, with or without its axis."""
    flat = torch.arange(12.0, dtype=dtype)[None]
    form = LowRankInterdependence.from_flat(flat, size=3, rank=2, kind=kind)
    assert form.left.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert form.right.tolist() == [[6, 9], [7, 10], [8, 11]]  # B^T is [[6, 7, 8], [9, 10, 11]]
    assert (form.kind, form.size, form.rank, form.left.dtype) == (kind, 3, 2, dtype)
    assert torch.equal(form.to_flat(), flat)
    assert form.to_flat().dtype == dtype
    assert torch.equal(LowRankInterdependence.from_flat(flat[0], size=3, rank=2, kind=kind).to_flat(), flat)
    with torch.no_grad():
        form.left.add_(1)
    assert torch.equal(flat, torch.arange(12.0, dtype=dtype)[None])  # it was copied


def test_flat_parameters_carry_gradients() -> None:
    """`to_flat` is part of the graph: a penalty on the flat vector reaches both factors in their own layout."""
    form = LowRankInterdependence(3, 2, dtype=torch.float64)
    (form.to_flat() * torch.arange(12.0, dtype=torch.float64)).sum().backward()
    assert form.left.grad is not None
    assert form.right.grad is not None
    assert form.left.grad.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert form.right.grad.tolist() == [[6, 9], [7, 10], [8, 11]]


@pytest.mark.parametrize("kind", INTERDEPENDENCES)
@for_each("method", ["forward", "interdependence"])
def test_interdependence_learns(kind: str, method: str) -> None:
    """Gradients with respect to the batch and both factors are those of finite differences."""
    batch = draw(5, 4)

    def apply(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
        form = LowRankInterdependence(side(kind, (5, 4)), 2, kind=kind, device="meta")
        del form.left, form.right
        form.left, form.right = left, right  # type: ignore[assignment]
        result: Tensor = getattr(form, method)(x)
        return result

    form = LowRankInterdependence(side(kind, (5, 4)), 2, kind=kind, dtype=torch.float64)
    inputs = [value.detach().clone().requires_grad_() for value in (batch, form.left, form.right)]
    assert torch.autograd.gradcheck(apply, inputs)


@pytest.mark.parametrize("kind", INTERDEPENDENCES)
def test_interdependence_never_forms_w(kind: str) -> None:
    """Forward and backward, no tensor is (b, b) or (m, m), and none larger than the batch."""
    b, m, rank = 60, 40, 3
    form = LowRankInterdependence(side(kind, (b, m)), rank, kind=kind)
    batch = torch.randn(b, m, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with Shapes() as shapes:
        form(batch).sum().backward()
    assert batch.grad is not None
    assert form.right.grad is not None
    assert (b, m) in shapes.seen
    assert not {(b, b), (m, m)} & shapes.seen
    assert shapes.largest == b * m


@pytest.mark.parametrize("kind", INTERDEPENDENCES)
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
def test_interdependence_compiles(kind: str) -> None:
    """One graph without breaks gives the eager values to two roundings."""
    form = LowRankInterdependence(side(kind, (6, 4)), 2, kind=kind, dtype=torch.float64)
    batch = draw(6, 4)
    torch.testing.assert_close(compiled(form)(batch), form(batch), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("kind", INTERDEPENDENCES)
def test_interdependence_state_dict_round_trip(kind: str) -> None:
    """A new module loads the state dict strictly and gives the same values to the bit."""
    size = side(kind, (6, 4))
    form, other = (
        LowRankInterdependence(size, 2, kind=kind, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)
    )
    batch = draw(6, 4, dtype=torch.float32)
    assert list(form.state_dict()) == ["left", "right"]
    assert not torch.equal(form(batch), other(batch))
    other.load_state_dict(form.state_dict(), strict=True)
    assert torch.equal(form(batch), other(batch))
    assert f"size={size}, rank=2, kind='{kind}', parameters={4 * size}" in repr(form)


def test_interdependence_draws_the_variance_that_is_told() -> None:
    """Entries of A B^T have the variance 1 / (3 size): seen over independent pairs of a row of A and a row of B."""
    size, rank, draws = 40_000, 2, 40_000
    form = LowRankInterdependence(size, rank, generator=torch.Generator().manual_seed(5))
    entry = (form.left.detach() * form.right.detach()).sum(dim=1).double() * size**0.5  # the diagonal of W, (size,)
    squares = entry.square()
    assert float(squares.mean()) == pytest.approx(1 / 3, abs=5 * float(squares.std()) / draws**0.5)
    assert 5 * float(squares.std()) / draws**0.5 < 0.05  # so that a factor of 1.15 would be seen


@pytest.mark.parametrize("length", [0, 11, 13, 24])
def test_flat_parameters_of_another_length_are_refused(length: int) -> None:
    """A vector that is not 2 size rank long is a ValueError with both lengths."""
    with pytest.raises(ValueError, match=f"3 x 3 of rank 2 takes 12 numbers; got {length}"):
        LowRankInterdependence.from_flat(torch.ones(1, length), size=3, rank=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0, "rank": 1}, "size must be an integer of at least 1"),
        ({"size": 3, "rank": 0}, "rank must be an integer of at least 1"),
        ({"size": 3, "rank": 4}, r"rank must be 1\.\.3, the side of W; got 4"),
        ({"size": 3, "rank": 2, "kind": "both"}, "kind must be one of attribute, instance; got 'both'"),
    ],
    ids=str,
)
def test_interdependences_that_are_none_are_refused(options: dict[str, Any], message: str) -> None:
    """Sizes below 1, a rank above the side and a kind that is none are a ValueError that names it."""
    with pytest.raises(ValueError, match=message):
        LowRankInterdependence(**options)


@pytest.mark.parametrize(
    ("kind", "word", "shape"),
    [
        ("attribute", "rows", (5, 6)),
        ("instance", "columns", (6, 5)),
        ("instance", "columns", (6,)),
        ("instance", "columns", (2, 6, 6)),
    ],
    ids=str,
)
def test_batches_of_another_side_are_refused(kind: str, word: str, shape: tuple[int, ...]) -> None:
    """A batch whose rows, or columns, are not the side of W, or that has not two axes, is a ValueError."""
    form = LowRankInterdependence(6, 2, kind=kind)
    for method in (form, form.interdependence):
        with pytest.raises(ValueError, match=f"the batch must have 6 {word}; got shape {re.escape(str(shape))}"):
            method(torch.ones(shape))


@pytest.mark.parametrize("shape", [(6,), (2, 6, 6)], ids=str)
def test_interdependence_refuses_batches_of_other_axes(shape: tuple[int, ...]) -> None:
    """A vector and a stack of batches are a ValueError, without torch's warning about their transpose."""
    with pytest.raises(ValueError, match="the batch must have 6 rows"):
        LowRankInterdependence(6, 2)(torch.ones(shape))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64], ids=str)
def test_bilinear_refuses_forms_that_are_not_real(dtype: torch.dtype) -> None:
    """Complex forms would lose their imaginary parts."""
    with pytest.raises(ValueError, match="weight must be real"):
        LowRankBilinear.from_dense(torch.ones(2, 3, 3, dtype=dtype), 1)
