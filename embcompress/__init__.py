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
    from embcompress.nn.saving import save as save
    from embcompress.nn.serving import apply_state_dict as apply_state_dict
    from embcompress.nn.serving import apply_to as apply_to
    from embcompress.nn.serving import dense_state_dict as dense_state_dict
    from embcompress.nn.serving import from_pretrained as from_pretrained
    from embcompress.nn.serving import load_model as load_model

__version__ = "0.1.0"

_HOMES = MappingProxyType(
    {
        "apply_state_dict": "embcompress.nn.serving",
        "apply_to": "embcompress.nn.serving",
        "approximate": "embcompress.commands.approximate",
        "backfill": "embcompress.commands.backfill",
        "dense_state_dict": "embcompress.nn.serving",
        "evaluate": "embcompress.commands.evaluate",
        "exceptions": "embcompress.exceptions",
        "export": "embcompress.commands.export",
        "from_pretrained": "embcompress.nn.serving",
        "inspect": "embcompress.commands.inspect",
        "load": "embcompress.nn.loading",
        "load_labels": "embcompress.nn.loading",
        "load_model": "embcompress.nn.serving",
        "nn": "embcompress.nn",
        "reconstruct": "embcompress.commands.reconstruct",
        "save": "embcompress.nn.saving",
        "sweep": "embcompress.commands.sweep",
        "verify": "embcompress.commands.verify",
    }
)  # public name -> the module that holds it, or that it is

__all__ = [
    "__version__",
    "apply_state_dict",
    "apply_to",
    "approximate",
    "backfill",
    "dense_state_dict",
    "evaluate",
    "export",
    "from_pretrained",
    "inspect",
    "load",
    "load_labels",
    "load_model",
    "reconstruct",
    "save",
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
