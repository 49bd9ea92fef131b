"""Every form of the report of two sample checkpoints is what it was."""

from __future__ import annotations

import math
import re
from functools import cache

import pytest

from tests.report.golden_reports import FORMS, GOLDEN, RUNS, make_reports

# Fractions, and whole numbers of four digits or more: bytes of strings, which another processor may find a little
# longer or shorter.
FRACTION = re.compile(r"(?<![\w.])(?:\d+\.\d+(?:e[+-]\d+)?|\d{4,}|\d{1,3}(?:,\d{3})+)(?![\w.])")
TOLERANCE = 2e-3  # relative, and of values near 0 a tenth of it: another processor sums in another order

reports_of = cache(make_reports)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("ending", FORMS)
def test_report_is_as_it_was(name: str, ending: str) -> None:
    """Words, markup and small whole numbers are the same to the letter, fractions and bytes to three digits."""
    actual = reports_of(name)[ending]
    expected = (GOLDEN / f"{name}{ending}").read_text(encoding="utf-8")
    assert FRACTION.sub("F", actual).split() == FRACTION.sub("F", expected).split()
    for one, other in zip(FRACTION.findall(actual), FRACTION.findall(expected), strict=True):
        values = [float(text.replace(",", "")) for text in (one, other)]
        assert math.isclose(*values, rel_tol=TOLERANCE, abs_tol=TOLERANCE / 10), (one, other)
