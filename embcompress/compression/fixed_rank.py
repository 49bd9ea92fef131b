"""Tables that are stored with a given number of bases."""

from __future__ import annotations

from collections.abc import Sequence

from embcompress.compression.bilinear_encoding import BilinearEncoding
from embcompress.compression.encoding import AnyEncoding
from embcompress.compression.encoding_maker import EncodingMaker
from embcompress.compression.memory import estimate_memory
from embcompress.compression.plain_encoding import PlainEncoding
from embcompress.compression.plan import Plan
from embcompress.compression.time_and_passes import TimeAndPasses
from embcompress.linalg.solvers import SolverChoice
from embcompress.results import Skipped
from embcompress.tables.source import TableSource


class FixedRank(EncodingMaker):
    """The tables of a plan, which any measured error is right for.

    Args:
        plan: with the rank of each table.
        choices: the solver of each.
        table_source: of the run.
    """

    def __init__(self, plan: Plan, choices: Sequence[SolverChoice], table_source: TableSource) -> None:
        self._plan, self._choices, self._table_source = plan, choices, table_source

    @property
    def skipped(self) -> Sequence[Skipped]:  # noqa: D102 - as in EncodingMaker
        return self._plan.skipped

    def encodings(self) -> list[AnyEncoding]:  # noqa: D102 - as in EncodingMaker
        return [
            (PlainEncoding if planned.matrix is None else BilinearEncoding)(
                planned, choice, self._table_source, earlier=TimeAndPasses()
            )
            for planned, choice in zip(self._plan.tables, self._choices, strict=True)
        ]

    def memory(self) -> int:  # noqa: D102 - as in EncodingMaker
        return estimate_memory(self._plan, self._choices)
