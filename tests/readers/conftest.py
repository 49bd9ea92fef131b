"""A seekable artifact that the tests of both readers share."""

from __future__ import annotations

from pathlib import Path

import pytest

import embcompress
from tests.fixtures import draw_falling, save


@pytest.fixture(scope="session", params=[False, True], ids=["free", "fixed"])
def seekable(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compress 1205 rows to seekable codes: some rows are zeros, and so are some blocks and the last row."""
    table = draw_falling(1205, 24)
    table[::7] = table[32:64] = table[-1] = 0
    table[5] *= 1e3
    path = save(tmp_path_factory.mktemp("seekable") / "model.safetensors", {"entity.weight": table})
    compressed = embcompress.approximate(
        path, ratio=5, effort="fast", neighbours=0, seekable=True, fixed_rows=request.param
    )
    return Path(compressed.output.path)
