"""The error of rounding to a stored dtype; known without torch."""

from __future__ import annotations

from collections.abc import Mapping

STORING_ERROR: Mapping[str, float] = {"float64": 1e-13, "float32": 3e-7, "float16": 1.2e-3, "bfloat16": 1e-2}
# Relative error that rounding to the stored dtype costs at most: digits below it are not asked of a solver.
ROUNDING: Mapping[str, float] = {"float64": 1e-16, "float32": 1e-7, "float16": 3e-4, "bfloat16": 2e-3}
# and what it costs typically: an error is never measured to be much smaller.
