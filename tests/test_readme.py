import re
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

import embcompress

ROOT = Path(__file__).resolve().parent.parent


def _code_under(heading: str, number: int = 0) -> str:
    section = (ROOT / "README.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)[number]


def test_readme_reader_equals_reconstruct(tmp_path, monkeypatch):
    """The lines of the README that need no embcompress give what `reconstruct` gives, tied names included."""
    monkeypatch.chdir(tmp_path)
    embcompress.approximate(
        ROOT / "sample_checkpoints" / "words" / "model.pt", bases=16, output="model-16bases.safetensors"
    )
    embcompress.reconstruct("model-16bases.safetensors", output="dense.safetensors")
    expected = load_file("dense.safetensors")
    names = {}
    code = _code_under("Reading an artifact without embcompress", 1)
    assert len(code.strip().splitlines()) == 10
    exec(code, names)
    assert names["tensors"].keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(names["tensors"][name], tensor, rtol=1e-5, atol=1e-6)


def test_readme_numpy_reader_equals_reconstruct(tmp_path, monkeypatch, capsys):
    """The lines of the README for the reader that stands alone give the rows that `reconstruct` gives."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    shutil.copy(ROOT / "embcompress" / "readers" / "numpy_reader.py", tmp_path)
    (tmp_path / "model.pt").symlink_to(ROOT / "sample_checkpoints" / "words" / "model.pt")
    output = embcompress.approximate("model.pt", ratio=16).output.path
    assert Path(output).name == "model-16x.safetensors"
    embcompress.reconstruct(output, output="dense.safetensors")
    expected = load_file("dense.safetensors")["embedding.weight"].numpy()
    names = {}
    exec(_code_under("Reading an artifact without embcompress"), names)
    tolerance = 1e-6 * abs(expected).max()
    np.testing.assert_allclose(names["dense"], expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(names["some"], expected[[0, 5, 2324]], rtol=0, atol=tolerance)
    assert capsys.readouterr().out.startswith("embedding.weight [2325, 64] {'relative': 0.")


def test_readme_python_lines_run(tmp_path, monkeypatch):
    """The library lines of the README run as written."""
    monkeypatch.chdir(tmp_path)
    Path("model.pt").symlink_to(ROOT / "sample_checkpoints" / "words" / "model.pt")
    model = torch.nn.ModuleDict({"embedding": torch.nn.Embedding(2325, 64), "head": torch.nn.Linear(64, 2325)})
    model["head"].weight = model["embedding"].weight
    names = {"ids": torch.tensor([[0, 5], [7, 2324]]), "query": torch.ones(64), "model": model}
    exec(_code_under("In Python"), names)
    dense = names["tables"]["embedding.weight"]()
    torch.testing.assert_close(names["rows"], dense[names["ids"]])
    torch.testing.assert_close(names["scores"], dense @ names["query"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model["embedding"](names["ids"]), names["rows"])
    torch.testing.assert_close(model["head"](names["query"]), names["scores"] + model["head"].bias)
    assert abs(names["result"].tables[0].error.relative - 0.4657) < 1e-4
