"""Samples, drawn tables, files and compressed checkpoints that the tests share; conftest.py takes the fixtures in."""

from __future__ import annotations

import gzip
import io
import json
import math
import pickle
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import embcompress
from embcompress.results import ApproximateResult
from tests.command_line import Outcome, run

SAMPLES = Path(__file__).parents[1] / "sample_checkpoints"
WORDS = SAMPLES / "words" / "model.pt"
SAMPLE_FILES = (
    "kinships-complex/trained_model.pkl",
    "kinships-complex/model.safetensors",
    "kinships-transe/trained_model.pkl",
    "kinships-rescal/trained_model.pkl",
    "words/model.pt",
)
NAME = "entity.weight"  # of the first table of `small_state`
CompressSample = Callable[..., ApproximateResult]  # name of a sample, options -> what `approximate` returns
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"bases": 4, "table": NAME},
    "coded": {"ratio": 6, "effort": "fast", "table": NAME},
    "bilinear": {"bases": 1, "table": ["relation.weight"], "bilinear": "relation.weight"},
}

# ------------------------------------------------------------------------------------------------------ drawn tables


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw N(0, 1) entries of a seed: the same in every dtype, but for rounding."""
    wide = torch.complex128 if dtype.is_complex else torch.float64
    return torch.randn(shape, dtype=wide, generator=torch.Generator().manual_seed(seed)).to(dtype)


def draw_sloping(rows: int, dim: int, *, seed: int = 0) -> Tensor:
    """Draw normal columns whose deviations fall evenly from 2 to 0.1, (rows, dim) float32."""
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)) * torch.linspace(2, 0.1, dim)


def draw_falling(
    *shape: int, seed: int = 0, dtype: torch.dtype = torch.float32, fall: float = 0.8, spread: float = 1.0
) -> Tensor:
    """Draw rows of uneven norms whose singular values fall, in any number of axes.

    Args:
        *shape: rows, and the axes of a row.
        seed: of the draw.
        dtype: of the table.
        fall: ratio of a singular value to the one before it, about.
        spread: deviation of the logarithm of the norms.
    """
    generator = torch.Generator().manual_seed(seed)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    rows, dim = shape[0], math.prod(shape[1:])
    sizes = (spread * torch.randn(rows, 1, generator=generator, dtype=torch.float64)).exp()
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=wide)).Q
    flat = torch.randn(rows, dim, generator=generator, dtype=wide) * sizes * fall ** torch.arange(dim) @ turn
    return flat.view(shape).to(dtype)


def small_state() -> dict[str, Tensor]:
    """Draw a table of uneven rows, a second one of matrices, and two tensors that stay as they are."""
    return {
        NAME: draw_falling(300, 16),
        "relation.weight": draw(60, 4, 4, seed=1),
        "layer.weight": draw(3, 5, seed=2),
        "step": torch.tensor(7),
    }


# ------------------------------------------------------------------------------------------------------------- files


def save(path: Path | str, state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    """Save a state dict with the tool that belongs to the ending; metadata in a safetensors file only."""
    path = Path(path)
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(dict(state), path, metadata=None if metadata is None else dict(metadata))
    else:
        torch.save(dict(state), path)
    return path


def save_to_memory(state: Any) -> io.BytesIO:
    """Save a state dict into a stream that is to be read from its start."""
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return stream


def load_stored(path: Path | str) -> dict[str, Tensor]:
    """Load the tensors of an artifact, but for the empty ones that mark the names of its dense tables."""
    tensors = safetensors.torch.load_file(path)
    return {name: tensor for name, tensor in tensors.items() if (tensor.dtype, tensor.shape) != (torch.uint8, (0,))}


def write_lines(path: Path, items: Iterable[object]) -> Path:
    """Write one item a line."""
    path.write_text("".join(f"{item}\n" for item in items))
    return path


def write_content(path: Path, content: object) -> Path:
    """Write text or bytes as they are, anything else as JSON; packed where the name ends in .gz."""
    text = content if isinstance(content, (str, bytes)) else json.dumps(content)
    raw = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


# ----------------------------------------------------------------------------------------------- the models of samples


class WordModel(nn.Module):
    """The model of sample_checkpoints/words: its head is tied to its table."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(2325, 64)
        self.mix = nn.Linear(64, 64)
        self.head = nn.Linear(64, 2325)
        self.head.weight = self.embedding.weight


class _ModelUnpickler(pickle.Unpickler):
    """Unpickles a whole PyKEEN model without PyKEEN: its classes become plain torch modules."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] in {"torch", "collections", "builtins", "_codecs", "functools", "numpy"}:
            return super().find_class(module, name)
        return type(name, (nn.Module,), {"__init__": lambda self, *_, **__: nn.Module.__init__(self)})


def load_module(path: Path) -> nn.Module:
    """Load the model of a sample with torch itself, as the module that it was saved from."""
    if path.suffix == ".pt":
        model: nn.Module = WordModel()
        model.load_state_dict(torch.load(path, weights_only=True), strict=True)
        return model
    reader = SimpleNamespace(Unpickler=_ModelUnpickler, load=pickle.load, __name__="pickle")
    model = torch.load(path.with_name("trained_model.pkl"), weights_only=False, pickle_module=reader)
    if path.suffix == ".safetensors":
        model.load_state_dict(safetensors.torch.load_file(path), strict=True)
    return model


# -------------------------------------------------------------------------------------------- compressed checkpoints


@pytest.fixture(scope="session")
def compress_sample(tmp_path_factory: pytest.TempPathFactory) -> CompressSample:
    """Compress a copy of a sample, once for each name and options; what it writes is not to be written to."""
    known: dict[tuple[object, ...], ApproximateResult] = {}

    def compress_sample(name: str, **options: Any) -> ApproximateResult:
        key = (name, *sorted(options.items()))
        if key not in known:
            source = Path(shutil.copy(SAMPLES / name, tmp_path_factory.mktemp("sample")))
            known[key] = embcompress.approximate(source, **options)
        return known[key]

    return compress_sample


@dataclass(frozen=True)
class Pair:
    """An original and its artifact, in a folder of their own."""

    original: Path
    artifact: Path

    def evaluate(self, *options: object) -> Outcome:
        """Run `evaluate` with a JSON report on stdout."""
        return run("evaluate", self.original, self.artifact, "--json", "--neighbours", 5, *options)

    def report(self, *options: object) -> dict[str, Any]:
        """Run `evaluate`, which must end with a failed check or gate, and read its report."""
        outcome = self.evaluate(*options)
        assert (outcome.code, outcome.err) == (3, "")
        report: dict[str, Any] = json.loads(outcome.out)
        assert report["ok"] is False
        return report


@pytest.fixture(scope="session")
def small_results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ApproximateResult]:
    """Compress one small checkpoint in each of OPTIONS; its files are not to be written to."""
    folder = tmp_path_factory.mktemp("small")
    source = save(folder / "model.safetensors", small_state(), {"format": "pt", "epoch": "3"})
    return {
        kind: embcompress.approximate(source, output=folder / f"{kind}.safetensors", **options)
        for kind, options in OPTIONS.items()
    }


@pytest.fixture(scope="session")
def small_pairs(small_results: Mapping[str, ApproximateResult]) -> Mapping[str, Pair]:
    """Name the files of the small checkpoint and of its artifacts."""
    return {kind: Pair(Path(made.input.path), Path(made.output.path)) for kind, made in small_results.items()}


@pytest.fixture
def pair(request: pytest.FixtureRequest, small_pairs: Mapping[str, Pair], tmp_path: Path) -> Pair:
    """Copy the pair named by the parameter, or the plain one, to be damaged."""
    chosen = small_pairs[getattr(request, "param", "plain")]
    return Pair(
        Path(shutil.copy(chosen.original, tmp_path / "model.safetensors")),
        Path(shutil.copy(chosen.artifact, tmp_path / "out.safetensors")),
    )
