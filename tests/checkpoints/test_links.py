"""Files of a checkpoint that the user did not name: no name and no link leads out of their folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embcompress.checkpoints import open_checkpoint
from embcompress.checkpoints.links import check_inside, is_inside, is_plain, path_within
from embcompress.exceptions import CheckpointError, DamagedFileError
from tests.cases import for_each

OUTSIDE = [
    "",
    ".",
    "..",
    "../x",
    "a/../x",
    "a//x",
    "a/",
    "/etc/passwd",
    "C:x",
    "C:/x",
    "..\\x",
    "a\\x",
    "\\\\host\\x",
    "a\0",
]


@for_each("name", [*OUTSIDE, None, 7, b"x"])
def test_path_within_refuses_what_is_no_plain_name(tmp_path: Path, name: object) -> None:
    """Absolute names, those with `..`, drives, backslashes or empty parts, and what is no text are damage."""
    assert not is_plain(name)
    with pytest.raises(DamagedFileError, match=r"names a file .* that does not lie in it") as caught:
        path_within(tmp_path, name)
    assert caught.value.hint


@for_each("name", ["x", "a/x", "..x", "x..", "a.b/c:d", "é"])
def test_path_within_finds_plain_names(tmp_path: Path, name: str) -> None:
    """A name in the folder or a subfolder is one, whether or not the file is there."""
    assert path_within(tmp_path, name) == tmp_path / name


def test_links_may_lead_to_files_of_the_folder_alone(tmp_path: Path) -> None:
    """A link within the folder is followed; one out of it, or through one of folders, is named with its target."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "model-2").mkdir()
    for target in ("model/own", "model/sub/own", "model-2/other"):
        (tmp_path / target).write_bytes(b"")
    (folder / "a").symlink_to("own")
    (folder / "b").symlink_to("sub/own")
    (folder / "c").symlink_to("../model-2/other")
    (folder / "d").symlink_to("../model-2")
    assert [is_inside(folder / name, folder) for name in ("a", "b", "c", "d/other", "own", ".")] == [
        True,
        True,
        False,
        False,
        True,
        True,
    ]
    # The folder itself may be reached by a link.
    (tmp_path / "link").symlink_to("model")
    assert is_inside(tmp_path / "link" / "a", tmp_path / "link")
    with pytest.raises(CheckpointError) as caught:
        check_inside(folder / "c", folder)
    assert caught.value.message == f"{folder / 'c'} is a link to {tmp_path / 'model-2/other'}, outside of its folder."


@pytest.mark.parametrize("repository", ["models--org--name", "datasets--org--name", "hub"])
def test_links_of_a_snapshot_lead_to_its_own_blobs(tmp_path: Path, repository: str) -> None:
    """In the cache of huggingface_hub they are followed to the blobs of the same repository, and to no others."""
    snapshot = tmp_path / repository / "snapshots" / "abc" / "data"
    other = tmp_path / "models--org--other" / "blobs"
    for folder in (snapshot, other, tmp_path / repository / "blobs"):
        folder.mkdir(parents=True)
    (tmp_path / repository / "blobs" / "1").write_bytes(b"")
    (other / "1").write_bytes(b"")
    (snapshot / "own").symlink_to("../../../blobs/1")
    (snapshot / "other").symlink_to(other / "1")
    assert is_inside(snapshot / "own", snapshot) == (repository != "hub")
    assert not is_inside(snapshot / "other", snapshot)


def save_dglke(folder: Path) -> list[str]:
    """Write a folder of DGL-KE; return the names of the companions."""
    folder.mkdir()
    np.save(folder / "x_TransE_entity.npy", np.ones((2, 3), np.float32))
    return ["config.json", "entities.tsv"]


def save_spacy(folder: Path) -> list[str]:
    """Write a folder of spaCy's vectors, without the words; return the names of the companions."""
    folder.mkdir()
    with (folder / "vectors").open("wb") as file:
        np.save(file, np.ones((2, 3), np.float32))
    (folder / "key2row").write_bytes(b"\x80")
    return ["vectors.cfg", "strings.json"]


def save_biggraph(folder: Path) -> list[str]:
    """Write a folder of PyTorch-BigGraph; return the names of the companions."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'embcompress[hdf5]'")
    folder.mkdir()
    with h5py.File(folder / "embeddings_user_0.v1.h5", "w") as file:
        file["embeddings"] = np.ones((2, 3), np.float32)
    return ["config.json"]


@pytest.mark.parametrize("save", [save_dglke, save_spacy, save_biggraph])
def test_companions_that_lead_out_are_none(tmp_path: Path, save: Callable[[Path], list[str]]) -> None:
    """A file beside the tensors that is a link to one elsewhere belongs to no model: it is not copied with it."""
    names = save(tmp_path / "model")
    for name in names:
        (tmp_path / "model" / name).symlink_to(tmp_path / "secret")
    (tmp_path / "secret").write_text("{}")
    with open_checkpoint(tmp_path / "model") as checkpoint:
        assert not {path.name for path in checkpoint.listing.companions} & set(names)
    for name in names:
        (tmp_path / "model" / name).unlink()
        (tmp_path / "model" / name).write_text("{}")
    with open_checkpoint(tmp_path / "model") as checkpoint:
        assert set(names) <= {path.name for path in checkpoint.listing.companions}
