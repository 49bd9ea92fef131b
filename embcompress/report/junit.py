"""The report as JUnit XML: a test case for every table, gate and check."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from embcompress.report.document import document_of
from embcompress.report.names import Inline, text_of
from embcompress.results import Result

NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def render_junit(result: Result) -> str:
    """Render a result as JUnit XML: each fault fails one case, and what stayed dense is skipped."""
    document = document_of(result)
    cases = document.cases
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(bool(case.failures) for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.skipped is not None for case in cases)),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }
    name = f"embcompress {document.command}"
    root = ET.Element("testsuites", {"name": name, **counts})
    suite = ET.SubElement(root, "testsuite", {"name": name, **counts})
    properties = ET.SubElement(suite, "properties")
    known = (
        *(("warning", warning) for warning in document.warnings),
        ("verdict", document.verdict),
        *((fact.label, fact.value) for fact in (*document.numbers, *document.facts)),
    )
    for label, value in known:
        ET.SubElement(properties, "property", {"name": label, "value": _text(value)})
    for case in cases:
        element = ET.SubElement(
            suite,
            "testcase",
            {
                "classname": f"embcompress.{document.command}.{case.group}",
                "name": _text(case.name),
                "time": f"{case.seconds:.3f}",
            },
        )
        if case.failures:
            failures = [_text(failure) for failure in case.failures]
            failure = ET.SubElement(element, "failure", {"message": failures[0], "type": case.group})
            failure.text = "\n".join(failures)
        if case.skipped is not None:
            ET.SubElement(element, "skipped", {"message": _text(case.skipped)})
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _text(inline: Inline) -> str:
    return NOT_XML.sub("\ufffd", text_of(inline))
