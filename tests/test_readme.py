import re
from pathlib import Path

import torch
from safetensors.torch import load_file

import embcompress

ROOT = Path(__file__).resolve().parent.parent


def _code_under(heading: str) -> str:
    section = (ROOT / "README.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


def test_readme_reader_equals_reconstruct(tmp_path, monkeypatch):
    """The lines of the README that need no embcompress give what `reconstruct` gives, tied names included."""
    monkeypatch.chdir(tmp_path)
    embcompress.approximate(
        ROOT / "sample_checkpoints" / "words" / "model.pt", bases=16, output="model-compressed.safetensors"
    )
    embcompress.reconstruct("model-compressed.safetensors", output="dense.safetensors")
    expected = load_file("dense.safetensors")
    names = {}
    code = _code_under("Reading an artifact without embcompress")
    assert len(code.strip().splitlines()) == 10
    exec(code, names)
    assert names["tensors"].keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(names["tensors"][name], tensor, rtol=1e-5, atol=1e-6)


def test_readme_python_lines_run(tmp_path, monkeypatch):
    """The library lines of the README run as written."""
    monkeypatch.chdir(tmp_path)
    Path("model.pt").symlink_to(ROOT / "sample_checkpoints" / "words" / "model.pt")
    names = {"ids": torch.tensor([[0, 5], [7, 2324]])}
    exec(_code_under("In Python"), names)
    assert names["rows"].shape == (2, 2, 64)
    assert abs(names["result"].tables[0].error.relative - 0.4657) < 1e-4
