"""Checkpoints of DGL-KE, LibKGE and OpenKE, written as these toolkits write and name them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from embcompress.checkpoints import open_checkpoint
from embcompress.exceptions import CheckpointError, IdsError
from embcompress.tables.rows import read_bytes

ENTITIES = ["b\u00e9b\u00e9", "a b", "7", "c"]
RELATIONS = ["is", "has"]
ENTITY_TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)
RELATION_TABLE = np.arange(6, dtype=np.float32).reshape(2, 3)
ORDER = (2, 0, 3, 1)  # of the lines of an id map: it need not be that of the ids


def save_dglke(folder: Path, *, model: str = "FB15k_TransE_l2") -> Path:
    """Write both tables of a model."""
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{model}_entity.npy", ENTITY_TABLE)
    np.save(folder / f"{model}_relation.npy", RELATION_TABLE)
    return folder


def labels_of(path: Path) -> dict[str, list[str]]:
    """Read the labels of all tables."""
    with open_checkpoint(path) as checkpoint:
        return {name: list(read()) for name, read in checkpoint.listing.labels.items()}


def tables_of(path: Path) -> dict[str, list[list[float]]]:
    """Read all tables."""
    with open_checkpoint(path) as checkpoint:
        return {
            tensor.name: np.frombuffer(b"".join(map(bytes, read_bytes(tensor, files=checkpoint.files))), np.float32)
            .reshape(tensor.shape)
            .tolist()
            for tensor in checkpoint.tensors
        }


MAPS = {
    "DGL-KE, id first": ("entities.tsv", "".join(f"{row}\t{ENTITIES[row]}\n" for row in ORDER)),
    "DGL-KE, label first": ("entities.tsv", "".join(f"{ENTITIES[row]}\t{row}\n" for row in ORDER)),
    "RotatE": ("entities.dict", "".join(f"{row}\t{ENTITIES[row]}\r\n" for row in ORDER)),
    "LibKGE": ("entity_ids.del", "".join(f"{row}\t{ENTITIES[row]}\n" for row in ORDER).rstrip()),
    "OpenKE": ("entity2id.txt", "4\n" + "".join(f"{ENTITIES[row]}\t{row}\n" for row in ORDER)),
    "OpenKE, blanks": ("entity2id.txt", "4\n" + "".join(f"{ENTITIES[row]} {row}\n" for row in ORDER) + "\n"),
}


@pytest.mark.parametrize("form", MAPS)
def test_id_maps_beside_a_model_label_its_rows(tmp_path: Path, form: str) -> None:
    """Each toolkit's file of ids gives every row its label, whatever the order of the lines."""
    name, content = MAPS[form]
    folder = save_dglke(tmp_path / "model")
    (folder / name).write_text(content, encoding="utf-8", newline="")
    assert labels_of(folder) == {"entity": ENTITIES}
    assert labels_of(folder / "FB15k_TransE_l2_entity.npy") == {"entity": ENTITIES}


@pytest.mark.parametrize(("name", "label_first"), [("entities.dict", False), ("entity2id.txt", True)])
def test_id_maps_of_numbers_are_read_by_their_form(tmp_path: Path, name: str, *, label_first: bool) -> None:
    """Where labels are the numbers of rows too, the form's own order of columns counts."""
    folder = save_dglke(tmp_path / "model")
    (folder / name).write_text("0\t1\n1\t2\n2\t3\n3\t0\n")
    assert labels_of(folder) == {"entity": ["3", "0", "1", "2"] if label_first else ["1", "2", "3", "0"]}


@pytest.mark.parametrize("content", ["", "0\ta\n1\tb\n", "0\ta\n" * 9])
def test_id_maps_of_another_length_label_nothing(tmp_path: Path, content: str) -> None:
    """A file with more or fewer lines than rows belongs to another table."""
    folder = save_dglke(tmp_path / "model")
    (folder / "entities.tsv").write_text(content)
    assert labels_of(folder) == {}


@pytest.mark.parametrize("content", ["a\nb\nc\nd\n", "0\ta\n0\tb\n1\tc\n2\td\n", "0\ta\n1\tb\n2\tc\n4\td\n"])
def test_id_maps_that_do_not_order_the_rows_are_an_error(tmp_path: Path, content: str) -> None:
    """Lines without ids, an id twice, or one beyond the rows are refused when the labels are asked for."""
    folder = save_dglke(tmp_path / "model")
    (folder / "entities.tsv").write_text(content)
    with pytest.raises(IdsError, match=r"entities\.tsv gives no label to each of the 4 rows"):
        labels_of(folder)


def test_id_maps_outside_of_the_folder_are_not_read(tmp_path: Path) -> None:
    """A link that leads out of the folder gives no labels."""
    folder = save_dglke(tmp_path / "model")
    (tmp_path / "secret").write_text("0\ta\n1\tb\n2\tc\n3\td\n")
    (folder / "entities.tsv").symlink_to(tmp_path / "secret")
    assert labels_of(folder) == {}


def test_dglke_reads_all_tables_of_a_folder(tmp_path: Path) -> None:
    """Tables are named by their kinds; configuration and ids are companions; other arrays are told of."""
    folder = save_dglke(tmp_path / "model")
    np.save(folder / "FB15k_TransE_l2_projection.npy", RELATION_TABLE)
    np.save(folder / "degrees.npy", RELATION_TABLE)
    (folder / "config.json").write_text("{}")
    (folder / "relations.tsv").write_text("is\t0\nhas\t1\n")
    assert tables_of(folder) == {
        "entity": ENTITY_TABLE.tolist(),
        "projection": RELATION_TABLE.tolist(),
        "relation": RELATION_TABLE.tolist(),
    }
    with open_checkpoint(folder) as checkpoint:
        assert [one.name for one in checkpoint.listing.left_out] == ["degrees.npy"]
        assert [one.name for one in checkpoint.listing.companions] == ["config.json", "relations.tsv"]
        assert checkpoint.listing.labels["relation"]() == RELATIONS


def test_dglke_refuses_two_models_in_a_folder(tmp_path: Path) -> None:
    """Of two models none is taken on a guess."""
    save_dglke(save_dglke(tmp_path / "model"), model="FB15k_DistMult")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path / "model")
    assert "2 models of DGL-KE: 'FB15k_DistMult', 'FB15k_TransE_l2'" in caught.value.message
    assert "FB15k_DistMult_entity.npy" in caught.value.hint


def test_dglke_refuses_a_table_outside_of_the_folder(tmp_path: Path) -> None:
    """An array that is a link to another folder is not read."""
    folder = save_dglke(tmp_path / "model")
    (folder / "FB15k_TransE_l2_entity.npy").rename(tmp_path / "other.npy")
    (folder / "FB15k_TransE_l2_entity.npy").symlink_to(tmp_path / "other.npy")
    with pytest.raises(CheckpointError, match="outside of its folder"):
        open_checkpoint(folder)


def libkge_state() -> dict[str, torch.Tensor]:
    """Make a state dict as LibKGE names it."""
    return {
        "_entity_embedder._embeddings.weight": torch.tensor(ENTITY_TABLE),
        "_relation_embedder._embeddings.weight": torch.tensor(RELATION_TABLE),
    }


@pytest.mark.parametrize("subfolder", ["dataset", "package", "files", "nowhere"])
def test_libkge_gives_names_and_labels(tmp_path: Path, subfolder: str) -> None:
    """The state dict lies in a pair under `model`; ids in the checkpoint's dataset, beside it, or in files."""
    checkpoint = {
        "type": "train",
        "epoch": 3,
        "model": (libkge_state(), {"meta": "of the model"}),
        "optimizer_state_dict": {"state": {0: {"sum": torch.ones(4, 3)}}, "param_groups": [{"lr": 0.1}]},
        "valid_trace": [{"mrr": 0.1}],
    }
    ids = {"entity_ids": ENTITIES, "relation_ids": RELATIONS}
    if subfolder == "dataset":
        checkpoint["dataset"] = {"num_entities": 4, "meta": ids}
    elif subfolder == "package":
        checkpoint |= ids
    elif subfolder == "files":
        for kind, texts in ids.items():
            (tmp_path / f"{kind}.del").write_text("".join(f"{row}\t{text}\n" for row, text in enumerate(texts)))
    torch.save(checkpoint, tmp_path / "checkpoint_best.pt")
    assert tables_of(tmp_path / "checkpoint_best.pt") == {
        name: value.tolist() for name, value in libkge_state().items()
    }
    expected = dict(zip(libkge_state(), (ENTITIES, RELATIONS), strict=True)) if subfolder != "nowhere" else {}
    assert labels_of(tmp_path / "checkpoint_best.pt") == expected
    with open_checkpoint(tmp_path / "checkpoint_best.pt") as opened:
        assert opened.listing.loading.endswith("['model'][0]")


def test_openke_is_labelled_by_the_files_beside_it(tmp_path: Path) -> None:
    """A state dict of OpenKE takes its labels from entity2id.txt and relation2id.txt, whose first line is a count."""
    state = {"ent_embeddings.weight": torch.tensor(ENTITY_TABLE), "rel_embeddings.weight": torch.tensor(RELATION_TABLE)}
    torch.save(state, tmp_path / "transe.ckpt")
    (tmp_path / "entity2id.txt").write_text(MAPS["OpenKE"][1], encoding="utf-8")
    (tmp_path / "relation2id.txt").write_text("2\nis\t0\nhas\t1\n")
    assert labels_of(tmp_path / "transe.ckpt") == dict(zip(state, (ENTITIES, RELATIONS), strict=True))
