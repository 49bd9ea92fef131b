"""Triples of a knowledge graph: the ids of their words, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from embcompress.exceptions import CheckpointError, EmbcompressError, IdsError
from embcompress.link_prediction.triples import IdMap, read_id_map, read_triples

ENTITIES = ("ada", 'a "quoted" b', "eve")
RELATIONS = ("knows", "likes")


@pytest.fixture
def maps(tmp_path: Path) -> tuple[IdMap, IdMap]:
    """Read the labels of three entities and two relations from files such as PyKEEN writes."""
    paths = tmp_path / "entity_to_id.tsv.gz", tmp_path / "relation_to_id.tsv.gz"
    for path, labels in zip(paths, (ENTITIES, RELATIONS), strict=True):
        quoted = ['"' + label.replace('"', '""') + '"' if '"' in label else label for label in labels]
        lines = ["id\tlabel", *(f"{index}\t{label}" for index, label in enumerate(quoted))]
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return read_id_map("entity", rows=3, path=paths[0]), read_id_map("relation", rows=2, path=paths[1])


def read(path: Path, maps: tuple[IdMap, IdMap]) -> list[int]:
    """Read triples into a flat list of ids."""
    return list(read_triples(path, entities=maps[0], relations=maps[1]))


@pytest.mark.parametrize("header", ["", "head\trelation\ttail\n"])
@pytest.mark.parametrize("name", ["test.tsv", "test.txt", "test.tsv.gz"])
def test_read_triples_looks_labels_up(tmp_path: Path, maps: tuple[IdMap, IdMap], name: str, header: str) -> None:
    """Labels become the ids of the maps, in the order of the file, repeats included, quotes taken away."""
    text = header + 'eve\tknows\tada\nada\tlikes\t"a ""quoted"" b"\neve\tknows\tada\n'
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert read(path, maps) == [2, 0, 0, 0, 1, 1, 2, 0, 0]


def test_read_triples_takes_ids_where_there_are_no_labels(tmp_path: Path) -> None:
    """Without maps, integers below the number of rows are the ids."""
    (tmp_path / "test.tsv").write_text("2\t0\t0\n0\t1\t1\n")
    bare = read_id_map("entity", rows=3, path=None), read_id_map("relation", rows=2, path=None)
    assert read(tmp_path / "test.tsv", bare) == [2, 0, 0, 0, 1, 1]


def test_read_triples_takes_ids_of_numeric_triples(tmp_path: Path, maps: tuple[IdMap, IdMap]) -> None:
    """A file of PyKEEN's own name holds ids, whatever labels there are."""
    (tmp_path / "numeric_triples.tsv").write_text("head\trelation\ttail\n2\t1\t0\n")
    assert read(tmp_path / "numeric_triples.tsv", maps) == [2, 1, 0]


@pytest.mark.parametrize(
    ("text", "exception", "words"),
    [
        ("", IdsError, ["holds no triples"]),
        ("head\trelation\ttail\n", IdsError, ["holds no triples"]),
        (
            "ada\tknows\teve\nada knows eve\n",
            CheckpointError,
            ["row 2", "'ada knows eve'", "head<TAB>relation<TAB>tail"],
        ),
        ("ada\tknows\teve\t1.0\n", CheckpointError, ["row 1"]),
        ('ada\tknows\t"eve\n', CheckpointError, ["no table"]),
        (
            "ada\tknows\teve\nadda\tknows\tbob\n",
            IdsError,
            ["2 unknown entities", "row 2", "'adda'", "Did you mean 'ada'"],
        ),
        ("ada\tknow\teve\n", IdsError, ["1 unknown relation,", "row 1", "Did you mean 'knows'"]),
        ("0\t0\t1\n", IdsError, ["2 unknown entities", "'0', '1'", "numeric_triples.tsv"]),
        ("\n".join(f"x{n}\tknows\teve" for n in range(9)), IdsError, ["9 unknown", "'x4' and 4 more"]),
    ],
)
def test_read_triples_says_what_is_wrong(
    tmp_path: Path, maps: tuple[IdMap, IdMap], text: str, exception: type[EmbcompressError], words: list[str]
) -> None:
    """Each fault is named with its file, its row, the words and how many there are."""
    path = tmp_path / "test.tsv"
    path.write_text(text)
    with pytest.raises(exception) as caught:
        read(path, maps)
    for word in (str(path), *words):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("3\t0\t1", "'3'"),
        ("0\t0\t-1", "'-1'"),
        ("0\t2\t1", "1 unknown relation"),
        ("0\t99999999999999999999\t1", "unknown relation"),
        ("ada\t0\t1", "words must be ids, 0..2"),
    ],
)
def test_read_triples_refuses_ids_out_of_range(tmp_path: Path, line: str, words: str) -> None:
    """Ids at or beyond the number of rows, below zero, or no numbers are refused by name."""
    (tmp_path / "test.tsv").write_text(line)
    bare = read_id_map("entity", rows=3, path=None), read_id_map("relation", rows=2, path=None)
    with pytest.raises(IdsError) as caught:
        read(tmp_path / "test.tsv", bare)
    assert words in str(caught.value)


def test_read_id_map_refuses_a_label_of_two(tmp_path: Path) -> None:
    """A word of a triple says whose id it is; rows without a label stand in none."""
    path = tmp_path / "labels.json"
    path.write_text('["a", "", "", "b"]')
    assert read_id_map("entity", rows=4, path=path).labels == ["a", "", "", "b"]
    path.write_text('["a", "b", "a"]')
    with pytest.raises(IdsError, match="gives a label to several entities: 'a'"):
        read_id_map("entity", rows=3, path=path)


def test_read_id_map_refuses_labels_of_another_model(tmp_path: Path) -> None:
    """More or fewer labels than rows belong to another model."""
    (tmp_path / "relation_to_id.tsv").write_text("id\tlabel\n0\tknows\n1\tlikes\n")
    with pytest.raises(IdsError, match=r"has 2 labels, and the model has 4 relations"):
        read_id_map("relation", rows=4, path=tmp_path / "relation_to_id.tsv")
