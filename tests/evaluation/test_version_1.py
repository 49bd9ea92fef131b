"""Reports and conditions of schema version 1: what was written for it goes on working."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import embcompress
from embcompress.evaluation.gates import read_conditions
from embcompress.exceptions import CheckpointError
from embcompress.report.schema import report_schema
from embcompress.results import EvaluateResult
from embcompress.results.version_1 import RENAMED, current_name, current_report
from tests.evaluation.documents import document, gates
from tests.report.schemas import strict

REPORT = Path(__file__).parents[1] / "data" / "report-v1.json"
KINSHIPS = Path(__file__).parents[2] / "sample_checkpoints" / "kinships-complex" / "trained_model.pkl"


@pytest.fixture(scope="module")
def old() -> dict[str, Any]:
    """Read a report that `evaluate --triples` wrote in version 1, of KINSHIPS after `approximate --ratio 8`."""
    fields: dict[str, Any] = json.loads(REPORT.read_text())
    return fields


def test_current_report_follows_the_schema(old: dict[str, Any]) -> None:
    """Every field has the name of this version, and none is left of the old ones; `stored_as` was not told then."""
    current = current_report(old) | {"schema_version": 2}
    current["tables"] = [{"stored_as": "", **table} for table in current["tables"]]
    errors = Draft202012Validator(strict(report_schema())).iter_errors(current)
    assert [error.message for error in errors] == []


def test_current_report_keeps_values(old: dict[str, Any]) -> None:
    """A field that is renamed keeps its value, in every table; all others are as they were."""
    current = current_report(old)
    for before, after in zip(old["tables"], current["tables"], strict=True):
        assert after["spectrum"]["kept_energy"] == before["spectrum"]["kept"]
        assert after["coded"]["row_kinds"] == before["coded"]["kinds"]
        assert after["coded"]["trellis_states"] == before["coded"]["states"]
        assert after["neighbours"]["neighbours_per_query"] == before["neighbours"]["nearest"] == 10
        assert after["error"] == before["error"]
    assert current["link_prediction"]["known_triples"] == old["link_prediction"]["known"] == 1
    assert (current["totals"], current["checks"]) == (old["totals"], old["checks"])


def test_renamed_fields_are_those_of_the_schema() -> None:
    """Each new name stands in the schema where the old one stood, and no old one is left there."""
    definitions = report_schema()["$defs"]
    places: dict[str, list[str]] = {}
    for path in (path for command in report_schema()["oneOf"] for path in _paths(command, definitions)):
        places.setdefault(path.rpartition(".")[0], []).append(path.rpartition(".")[2])
    for path, name in RENAMED.items():
        parent = current_name(path).rpartition(".")[0]
        assert name in places[parent], path
        assert path.rpartition(".")[2] not in places[parent], path


def _paths(schema: Any, definitions: Any, name: str = "") -> list[str]:
    """List the fields of a document, places in lists left out."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    inside = [_paths(option, definitions, name) for option in schema.get("anyOf", ())]
    inside += [_paths(schema["items"], definitions, name)] if "items" in schema else []
    for field, value in schema.get("properties", {}).items():
        path = f"{name}.{field}" if name else field
        inside.append([path, *_paths(value, definitions, path)])
    return [path for paths in inside for path in paths]


def test_baseline_of_version_1_is_compared(old: dict[str, Any], tmp_path: Path) -> None:
    """The same compression passes within 5 %, each number of the old report is a gate, and a worse one fails."""
    options = {"ratio": 8, "device": "cpu", "neighbours": 20, "max_regression": "5%"}
    made = embcompress.approximate(KINSHIPS, output=tmp_path / "a.safetensors", baseline=REPORT, **options)
    assert [gate.passed for gate in made.gates] == [True] * 11
    assert "error.relative" in {gate.expression.split()[0] for gate in made.gates}
    better = json.loads(REPORT.read_text())
    better["tables"][1]["error"]["relative"] /= 2
    path = tmp_path / "better.json"
    path.write_text(json.dumps(better))
    made = embcompress.approximate(KINSHIPS, output=tmp_path / "b.safetensors", baseline=path, **options)
    failed = [(gate.table, gate.expression.split()[0]) for gate in made.gates if not gate.passed]
    assert failed == [(old["tables"][1]["name"], "error.relative")]


def test_baseline_of_a_later_version_is_refused(plain: EvaluateResult, tmp_path: Path) -> None:
    """A version that is not known may mean something else by a name: the message tells both versions."""
    path = tmp_path / "later.json"
    path.write_text(json.dumps(document(plain) | {"schema_version": 3}))
    with pytest.raises(CheckpointError, match=r"has schema version 3; this embcompress reads 1 to 2\."):
        read_conditions(EvaluateResult, fail_if=(), baseline=path, max_regression=0)


@pytest.mark.parametrize(
    ("name", "current"),
    [
        ("spectrum.kept", "spectrum.kept_energy"),
        ("neighbours.nearest", "neighbours.neighbours_per_query"),
        ("tables.0.spectrum.kept", "tables[0].spectrum.kept_energy"),
    ],
)
def test_gates_take_names_of_version_1(name: str, current: str, plain: EvaluateResult) -> None:
    """A condition of an old script is on the number that it was on, and is told as it was given."""
    old, new = gates(plain, f"{name} < 0", f"{current} < 0")
    assert (old.expression, new.expression) == (f"{name} < 0", f"{current} < 0")
    assert old.value is not None
    assert (old.table, old.value, old.passed) == (new.table, new.value, True)


@pytest.mark.parametrize(
    ("name", "within", "expected"),
    [
        ("tables.3.curves.0.points.1.asked_ratio", "", "tables.3.curves.0.points.1.target_ratio"),
        ("coded.kinds", "tables", "coded.row_kinds"),
        ("coded.kinds", "", "coded.kinds"),
        ("unrecognised.0.bytes", "", "unrecognised_matrices.0.bytes"),
        ("vocabulary.kept", "", "vocabulary.kept_ids"),
    ],
)
def test_current_name_renames_by_path(name: str, within: str, expected: str) -> None:
    """Only what stands at the path is renamed: `kinds` elsewhere is another thing."""
    assert current_name(name, within=within) == expected


def test_current_report_of_hostile_values_leaves_them() -> None:
    """Another kind of value than the schema has, and lists nested deeply, come through as they are."""
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    tables = [3, None, {"coded": 7, "spectrum": [{"kept": 1}], "neighbours": deep}]
    current = current_report({"tables": tables, "vocabulary": "none", "link_prediction": None})
    expected = {"coded": 7, "spectrum": [{"kept_energy": 1}], "neighbours": deep}
    assert list(current) == ["tables", "vocabulary", "link_prediction"]
    assert current["tables"][:2] == [3, None]
    assert current["tables"][2].keys() == expected.keys()
    assert current["tables"][2]["spectrum"] == expected["spectrum"]
    assert current["tables"][2]["neighbours"][0] is deep[0]
