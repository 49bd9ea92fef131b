"""Compress trained embedding checkpoints.

The public names load on first use (PEP 562), so that importing the package, asking for help and listing a file do not
pay the two seconds that importing torch takes.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embcompress.artifact import load as load
    from embcompress.nn.serving import apply_to as apply_to
    from embcompress.workflows import approximate as approximate
    from embcompress.workflows import backfill as backfill
    from embcompress.workflows import evaluate as evaluate
    from embcompress.workflows import inspect as inspect
    from embcompress.workflows import reconstruct as reconstruct
    from embcompress.workflows import sweep as sweep

__version__ = "0.1.0"

_HOMES = MappingProxyType(
    {
        "apply_to": "embcompress.nn.serving",
        "approximate": "embcompress.workflows",
        "backfill": "embcompress.workflows",
        "evaluate": "embcompress.workflows",
        "exceptions": "embcompress.exceptions",
        "inspect": "embcompress.workflows",
        "load": "embcompress.artifact",
        "nn": "embcompress.nn",
        "reconstruct": "embcompress.workflows",
        "sweep": "embcompress.workflows",
    }
)  # public name -> the module that holds it, or that it is

__all__ = ["__version__", "apply_to", "approximate", "backfill", "evaluate", "inspect", "load", "reconstruct", "sweep"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'embcompress' has no attribute {name!r}")
    module = importlib.import_module(home)
    return module if home.endswith(f".{name}") else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
