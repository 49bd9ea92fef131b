"""`evaluate` at the command line: each kind of damage and difference is told by the name of a check, with exit 3."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import embcompress
from tests.artifact.damage import edit_document, edit_original, failed, flip, header_of
from tests.fixtures import NAME, OPTIONS, Pair, small_state

CODED_PARTS = ("codes", "index", "codebook")


DAMAGED = [
    *[("plain", f"{NAME}.{part}", NAME) for part in ("bases", "weights")],
    *[("coded", f"{NAME}.{part}", NAME) for part in CODED_PARTS],
    *[("bilinear", f"relation.weight.{part}", "relation.weight") for part in ("left", "right")],
    *[(kind, name, name) for kind in OPTIONS for name in ("layer.weight", "step")],
]


@pytest.mark.parametrize(("pair", "tensor", "expected_name"), DAMAGED, indirect=["pair"], ids=str)
def test_evaluate_names_what_a_flipped_bit_is_in(pair: Pair, tensor: str, expected_name: str) -> None:
    """Lowest and highest bit, first, middle and last byte: the check of checksums fails for the table or the tensor.

    A damaged table has no error, and all others keep theirs.
    """
    whole = pair.artifact.read_bytes()
    for share, bit in ((0.0, 0), (0.5, 7), (1.0, 6)):
        flip(pair.artifact, tensor, bit=bit, share=share)
        report = pair.report()
        wrong = failed(report)
        assert ("checksums", expected_name) in wrong
        assert {name for name, _ in wrong} <= {"checksums", "uncompressed_tensors"}
        for table in report["tables"]:
            assert (table["error"] is None) == (table["name"] == expected_name)
        pair.artifact.write_bytes(whole)
    assert pair.evaluate().code == 0


def test_coded_artifact_has_the_parts_that_are_damaged(small_pairs: Mapping[str, Pair]) -> None:
    """The tests above flip a bit in every tensor of each artifact."""
    for kind, pair in small_pairs.items():
        wanted = {tensor for of, tensor, _ in DAMAGED if of == kind}
        others = {name for name in header_of(pair.artifact)[0] if name != "__metadata__"} - wanted
        assert others <= {"relation.weight", NAME}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda document: document.update(schema_version=3), "schema version 3"),
        (lambda document: document.pop("crc32"), "does not follow the schema"),
        (lambda document: document["tables"][NAME].update(rank=0), "rank 0"),
        (lambda document: document["tables"][NAME].update(rank=3), "should hold"),
        (lambda document: document["tables"][NAME]["error"].update(relative="x"), "error 'x'"),
    ],
)
def test_evaluate_refuses_a_header_that_cannot_be_read(
    change: Callable[[dict[str, Any]], object], says: str, pair: Pair
) -> None:
    """Exit code 1, and what is wrong with the header."""
    edit_document(pair.artifact, change)
    outcome = pair.evaluate()
    assert outcome.code == 1
    assert says in json.loads(outcome.out)["error"]["message"]


@pytest.mark.parametrize("position", [3, 9, 40])
def test_evaluate_refuses_a_broken_header(position: int, pair: Pair) -> None:
    """A byte of the header's length, or of its JSON, that is another one ends in exit code 1 and no traceback."""
    raw = bytearray(pair.artifact.read_bytes())
    raw[position] ^= 0x80
    pair.artifact.write_bytes(raw)
    outcome = pair.evaluate()
    assert (outcome.code, json.loads(outcome.out)["ok"]) == (1, False)


def test_evaluate_notices_another_checksum_in_the_header(pair: Pair) -> None:
    """The tensor is whole, and its checksum in the header is another: the check fails for its table."""
    edit_document(pair.artifact, lambda document: document["crc32"].update({f"{NAME}.weights": "00000000"}))
    assert failed(pair.report()) == [("checksums", NAME)]


@pytest.mark.parametrize("pair", OPTIONS, indirect=True)
@pytest.mark.parametrize("factor", [0.5, 0.99, 1.01, 0.0])
def test_evaluate_notices_a_falsified_error(factor: float, pair: Pair) -> None:
    """An error in the header that is off by 1 % or more fails the check of what is recorded, and is told."""

    def falsify(document: dict[str, Any]) -> None:
        for table in document["tables"].values():
            table["error"]["relative"] *= factor

    edit_document(pair.artifact, falsify)
    report = pair.report()
    assert failed(report) == [("recorded_error", report["tables"][0]["name"])]
    assert report["tables"][0]["error"]["relative"] > 0


def test_evaluate_takes_an_artifact_that_tells_no_error(pair: Pair) -> None:
    """An error of null, as backfill writes it, is compared with nothing; all else is."""
    edit_document(pair.artifact, lambda document: document["tables"][NAME]["error"].update(relative=None))
    outcome = pair.evaluate()
    assert outcome.code == 0
    assert [check["name"] for check in json.loads(outcome.out)["checks"]] == [
        "schema",
        "tables",
        "checksums",
        "uncompressed_tensors",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda tensors: tensors["layer.weight"][2, 4].mul_(1.0000002), [("uncompressed_tensors", "layer.weight")]),
        (lambda tensors: tensors["step"].add_(1), [("uncompressed_tensors", "step")]),
        (lambda tensors: tensors.update(more=torch.zeros(2)), [("uncompressed_tensors", "more")]),
        (lambda tensors: tensors.pop("step"), [("uncompressed_tensors", "step")]),
        (lambda tensors: tensors.update(step=torch.tensor(7.0)), [("uncompressed_tensors", "step")]),
        (lambda tensors: tensors.update(step=torch.tensor([7])), [("uncompressed_tensors", "step")]),
        (lambda tensors: tensors["relation.weight"][59, 3, 3].neg_(), [("uncompressed_tensors", "relation.weight")]),
        (lambda tensors: tensors.update({NAME: tensors[NAME][:-1].clone()}), [("tables", NAME)]),
        (lambda tensors: tensors.update({NAME: tensors[NAME].half()}), [("tables", NAME)]),
        (lambda tensors: tensors.update({NAME: tensors[NAME].view(300, 4, 4)}), [("tables", NAME)]),
        (lambda tensors: tensors[NAME][tensors[NAME].norm(dim=1).argmax()].mul_(1.5), [("recorded_error", NAME)]),
    ],
)
def test_evaluate_notices_another_original(
    change: Callable[[dict[str, Tensor]], object], expected: list[tuple[str, str]], pair: Pair
) -> None:
    """Another value, one tensor more or less, another dtype or shape: the check that is for it fails, and no other."""
    edit_original(pair, change)
    report = pair.report()
    assert failed(report) == expected
    assert [table["name"] for table in report["tables"]] == ([] if expected == [("tables", NAME)] else [NAME])


def test_evaluate_tells_zero_from_minus_zero(pair: Pair) -> None:
    """Tensors that stay are compared bit for bit: -0 is not 0, and NaN is itself."""
    edit_original(pair, lambda tensors: tensors.update(zero=torch.zeros(3), odd=torch.tensor([float("nan")])))
    embcompress.approximate(pair.original, output=pair.artifact, bases=4, table=NAME, force=True)
    assert pair.evaluate().code == 0
    edit_original(pair, lambda tensors: tensors["zero"].neg_())
    assert failed(pair.report()) == [("uncompressed_tensors", "zero")]


def test_evaluate_notices_other_metadata(pair: Pair) -> None:
    """Metadata that `reconstruct` would put back is compared, too."""
    edit_original(pair, lambda _: None, epoch="4")
    assert failed(pair.report()) == [("uncompressed_tensors", None)]


def test_evaluate_notices_ties_that_are_no_more(tmp_path: Path) -> None:
    """Where the original has two tensors in the place of one with two names, the check of tables tells."""
    table = small_state()[NAME]
    source, other = tmp_path / "tied.pt", tmp_path / "apart.pt"
    torch.save({NAME: table, "head.weight": table}, source)
    head = table.clone()
    head[0, 0] += 1  # copies that are equal to the bit count as one tensor
    torch.save({NAME: table, "head.weight": head}, other)
    made = embcompress.approximate(source, bases=4, table=NAME, neighbours=0).output.path
    assert Pair(source, Path(made)).evaluate().code == 0
    report = Pair(other, Path(made)).report()
    assert failed(report) == [("tables", NAME)]
    assert "'head.weight'" in report["checks"][-1]["detail"]
