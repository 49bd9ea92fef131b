"""The reason why a command failed, in the forms of a report that machines read."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from types import MappingProxyType

from embcompress.exceptions import EmbcompressError
from embcompress.report.json import render_json_failure
from embcompress.report.names import spelled


def render_junit_failure(failure: EmbcompressError, *, command: str) -> str:
    """Render what went wrong as JUnit XML: one test case, the command, with an error."""
    counts = {"tests": "1", "failures": "0", "errors": "1", "skipped": "0", "time": "0.000"}
    root = ET.Element("testsuites", {"name": command, **counts})
    suite = ET.SubElement(root, "testsuite", {"name": command, **counts})
    classname = command.replace(" ", ".")
    case = ET.SubElement(suite, "testcase", {"classname": classname, "name": command, "time": "0.000"})
    message, hint = ("\n".join(map(spelled, text.split("\n"))) for text in (failure.message, failure.hint))
    error = ET.SubElement(case, "error", {"message": message, "type": failure.id})
    error.text = "\n".join(filter(None, (message, hint)))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _render_json(failure: EmbcompressError, *, command: str) -> str:
    del command  # the document of a failure does not name it
    return render_json_failure(failure)


FAILURE_RENDERERS: Mapping[str, Callable[..., str]] = MappingProxyType(
    {".json": _render_json, ".xml": render_junit_failure}
)
# The ending of a report's file -> the function that writes it; the other forms are for people, who see the message.
