"""The large matrices that a run leaves dense though they may be tables, and the command that takes them along."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from embcompress.results import ApproximateResult, UnrecognisedMatrix
from embcompress.text import spell_command


@dataclass(frozen=True)
class Unrecognised:
    """Matrices that were not recognised as tables, and the call that left them dense.

    Attributes:
        matrices: the largest first.
        names: of all tensors of the checkpoint.
        call: the arguments of `approximate` that were given: `path`, and options by their names.
    """

    matrices: tuple[UnrecognisedMatrix, ...]
    names: Sequence[str]
    call: Mapping[str, Any]

    def add_to(self, result: ApproximateResult) -> ApproximateResult:
        """Add the matrices to a result, and the command that compresses them beside its tables."""
        if not self.matrices:
            return result
        names = [*(table.name for table in result.tables), *(self._pattern(matrix.name) for matrix in self.matrices)]
        # The command is pasted when the outputs of this run are there.
        call = {**self.call, "table": names, "force": True}
        return replace(
            result, unrecognised_matrices=self.matrices, unrecognised_command=spell_command("approximate", **call)
        )

    def _pattern(self, name: str) -> str:
        """Give the pattern of a matrix for --table.

        Whether a matrix becomes smaller within an error is known when it is read. Named in full, one that does not is
        an error; by a pattern, it stays dense.
        """
        if "max_error" not in self.call and "energy" not in self.call:
            return name
        pattern = f"{glob.escape(name)}*"
        return name if any(fnmatchcase(other, pattern) for other in self.names if other != name) else pattern
