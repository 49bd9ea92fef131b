"""The spectrum of a table in a report: thinned, and with the energy that leading directions hold."""

from __future__ import annotations

import math

from embcompress.linalg.exact import Factorization
from embcompress.results import SpectrumReport

SPECTRUM_POINTS = 64  # at most, of a spectrum in a report, and the rank in use beside them


def spectrum_report(factors: Factorization, *, side: int, rank: int) -> SpectrumReport | None:
    """Thin the spectrum that a solver found; None of a table of zeros.

    Args:
        factors: of the table's rows, counted alike.
        side: rows or columns of the table, whichever are fewer.
        rank: the number of bases in use.
    """
    if not factors.squared_norm:
        return None
    values = factors.singular_values
    energies = (values.square().cumsum(0) / factors.squared_norm).clamp_max(1.0).tolist()
    known = len(energies)
    kept_rank = min(rank, known)
    shown = [round(math.exp(math.log(known) * step / (SPECTRUM_POINTS - 1))) for step in range(SPECTRUM_POINTS)]
    ranks = sorted({*(range(1, known + 1) if known <= SPECTRUM_POINTS else shown), kept_rank, known})
    return SpectrumReport(
        is_whole=known == side,
        kept_energy=energies[kept_rank - 1],
        ranks=tuple(ranks),
        singular_values=tuple(float(values[number - 1]) for number in ranks),
        energy=tuple(energies[number - 1] for number in ranks),
    )
