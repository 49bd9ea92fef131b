"""Compress trained embedding checkpoints.

The public names load on first use (PEP 562), so that importing the package, asking for help and listing a file do not
pay the two seconds that importing torch takes.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embcompress.commands.approximate import approximate as approximate
    from embcompress.commands.backfill import backfill as backfill
    from embcompress.commands.evaluate import evaluate as evaluate
    from embcompress.commands.export import export as export
    from embcompress.commands.inspect import inspect as inspect
    from embcompress.commands.reconstruct import reconstruct as reconstruct
    from embcompress.commands.sweep import sweep as sweep
    from embcompress.commands.verify import verify as verify
    from embcompress.nn.loading import load as load
    from embcompress.nn.loading import load_labels as load_labels
    from embcompress.nn.serving import apply_to as apply_to

__version__ = "0.1.0"

_HOMES = MappingProxyType(
    {
        "apply_to": "embcompress.nn.serving",
        "approximate": "embcompress.commands.approximate",
        "backfill": "embcompress.commands.backfill",
        "evaluate": "embcompress.commands.evaluate",
        "exceptions": "embcompress.exceptions",
        "export": "embcompress.commands.export",
        "inspect": "embcompress.commands.inspect",
        "load": "embcompress.nn.loading",
        "load_labels": "embcompress.nn.loading",
        "nn": "embcompress.nn",
        "reconstruct": "embcompress.commands.reconstruct",
        "sweep": "embcompress.commands.sweep",
        "verify": "embcompress.commands.verify",
    }
)  # public name -> the module that holds it, or that it is

__all__ = [
    "__version__",
    "apply_to",
    "approximate",
    "backfill",
    "evaluate",
    "export",
    "inspect",
    "load",
    "load_labels",
    "reconstruct",
    "sweep",
    "verify",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'embcompress' has no attribute {name!r}")
    module = importlib.import_module(home)
    return module if home == f"embcompress.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
