"""The report as JUnit XML: cases that pass and fail as tables, gates and checks do."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

import pytest

from embcompress.report import render
from embcompress.results import Check, Result
from tests.report.hostile import HOSTILE
from tests.report.results import every_result, full_approximation, full_evaluation


def suite_of(result: Result) -> ET.Element:
    """Parse a report, which must be bytes of UTF-8, and give its one suite."""
    (suite,) = ET.fromstring(render(result, ".xml").encode())
    return suite


@pytest.mark.parametrize("command", every_result())
def test_render_junit_counts_its_cases(command: str) -> None:
    """The numbers of a suite are those of its cases."""
    suite = suite_of(every_result()[command])
    cases = suite.findall("testcase")
    assert suite.get("name") == f"embcompress {command}"
    assert suite.get("tests") == str(len(cases)) != "0"
    assert suite.get("failures") == str(sum(case.find("failure") is not None for case in cases))
    assert suite.get("skipped") == str(sum(case.find("skipped") is not None for case in cases))
    assert float(suite.get("time", "")) == pytest.approx(sum(float(case.get("time", "")) for case in cases))


def test_render_junit_fails_what_failed() -> None:
    """Each fault fails one case, with value and words: a gate its own, a check that of the table it was for."""
    suite = suite_of(full_evaluation())
    failed = {
        (case.get("classname"), case.get("name")): failure.get("message")
        for case in suite.findall("testcase")
        for failure in case.findall("failure")
    }
    check = "the original has 9 rows, and the artifact is made for 7"
    assert failed == {
        ("embcompress.evaluate.table", "entities.weight.3"): f"tables of 'entities.weight.3': {check}.",
        (
            "embcompress.evaluate.gate",
            "error.relative > 0.2 for entities.weight",
        ): "error.relative > 0.2 in table 'entities.weight': it is 0.2031.",
    }
    assert (suite.get("tests"), suite.get("failures"), suite.get("time")) == ("8", "2", "37.500")
    properties = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert properties["times smaller, the file"] == "15.71"
    assert properties["times smaller, the tables"] == "15.48"
    assert properties["relative error, worst of 2"] == "0.2031"


def test_render_junit_has_a_case_for_what_only_a_check_names() -> None:
    """A table that is not in the report fails in a case of its own, a tensor that is no table as a check."""
    checks = (
        Check("tables", "lost", passed=False, detail="the original has no tensor of this name"),
        Check("uncompressed_tensors", "bias", passed=False, detail="has other bytes than the original"),
        Check("uncompressed_tensors", None, passed=False, detail="the metadata is not that of the original"),
    )
    result = full_evaluation()
    suite = suite_of(dataclasses.replace(result, tables=result.tables[:1], gates=(), checks=checks))
    cases = [
        (str(case.get("classname")).rpartition(".")[2], case.get("name"), case.find("failure") is not None)
        for case in suite.findall("testcase")
    ]
    assert cases == [
        ("table", "entities.weight", False),
        ("table", "lost", True),
        ("check", "uncompressed_tensors of bias", True),
        ("check", "uncompressed_tensors", True),
    ]


def test_render_junit_passes_what_has_no_gate() -> None:
    """Without gates every table passes; what stayed dense is skipped, with its reason."""
    result = dataclasses.replace(full_approximation(), gates=(), withheld=False)
    suite = suite_of(result)
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("2", "0", "1")
    (skipped,) = suite.iter("skipped")
    assert skipped.get("message") == "would grow, as entities.weight says"


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_render_junit_is_safe_from_names(name: str) -> None:
    """Any name leaves a document that parses, of the same elements, without characters that are not printed."""
    for command, result in every_result(name).items():
        expected = [element.tag for element in suite_of(every_result()[command]).iter()]
        assert [element.tag for element in suite_of(result).iter()] == expected
        assert all(char.isprintable() or char == "\n" for char in render(result, ".xml"))


def test_render_junit_keeps_names() -> None:
    """A name that XML would take for markup comes back as it was."""
    name = "<a>&]]>\"'"
    names = [case.get("name") for case in suite_of(full_approximation(name)).findall("testcase")]
    assert names[0] == name
