"""Regularizers of rows: taken as they are, made of a class or a name, or refused when the table is made."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from embcompress.exceptions import OutputError
from embcompress.nn import Embedding, LowRankRepresentation
from embcompress.nn.regularizers import make_regularizer
from tests.cases import for_each


class Largest:
    """A regularizer that remembers the largest entry, times a weight."""

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight
        self.term = 0.0

    def update(self, rows: Tensor) -> None:
        """Look at rows."""
        self.term = self.weight * float(rows.detach().max())


@for_each("cls", [Embedding, LowRankRepresentation])
@for_each("kwargs", [None, {"weight": 0.5}])
def test_regularizer_is_made_of_its_class(cls: Any, kwargs: dict[str, float] | None) -> None:
    """A class with its arguments regularizes as the object that they make would."""
    table = cls(max_id=4, shape=3, regularizer=Largest, regularizer_kwargs=kwargs)
    rows = table(torch.tensor([0, 2]))
    assert table.regularizer.term == (kwargs or {}).get("weight", 1.0) * float(rows.max())


@pytest.mark.parametrize(
    ("given", "kwargs", "error", "message"),
    [
        (object(), None, TypeError, "has a method update"),
        (len, None, TypeError, "has a method update"),
        (Largest(), {"weight": 1.0}, ValueError, "a Largest that is made already takes no arguments; got weight"),
        (None, {"weight": 1.0}, ValueError, "no regularizer takes no arguments; got weight"),
        (Largest, {"p": 1.0}, TypeError, "unexpected keyword argument 'p'"),
    ],
    ids=["object", "function", "arguments of an object", "arguments of none", "wrong arguments"],
)
def test_regularizer_is_refused_at_construction(
    given: Any, kwargs: dict[str, Any] | None, error: type[Exception], message: str
) -> None:
    """What cannot be shown rows, and arguments that nothing takes, never wait for the first lookup."""
    with pytest.raises(error, match=message):
        Embedding(max_id=2, shape=2, regularizer=given, regularizer_kwargs=kwargs)


@pytest.mark.pykeen
def test_regularizer_of_an_unknown_name_is_refused() -> None:
    """The message lists PyKEEN's names."""
    pytest.importorskip("pykeen", reason="PyKEEN is not installed: pip install -e '.[pykeen]'")
    with pytest.raises(ValueError, match="no regularizer is called 'l7'; there are combined, lp, "):
        make_regularizer("l7", None)


def test_regularizer_by_name_needs_pykeen(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Where it is not installed, the message says which regularizer needs it, and how to install it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "pykeen"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(OutputError, match="the regularizer 'lp', given by name, needs PyKEEN") as refused:
        make_regularizer("lp", None)
    assert "pip install 'embcompress[pykeen]'" in str(refused.value.hint)
