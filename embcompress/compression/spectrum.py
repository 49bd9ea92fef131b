"""The spectrum of a table, which every budget starts from."""

from __future__ import annotations

from embcompress.exceptions import NonFiniteError
from embcompress.linalg.blocks import Rows
from embcompress.linalg.exact import Factorization
from embcompress.linalg.precision import STORING_ERROR
from embcompress.linalg.svd import factorize
from embcompress.linalg.weighting import WeightedRows
from embcompress.tables.source import TableSource
from embcompress.tables.table import Table

# Columns that are rotated: more need a matrix and a time that no table has paid back.
RANK_MAX = 4096


def find_spectrum(table: Table, table_source: TableSource, *, stored_dtype: str) -> Factorization:
    """Factorize all of a table, with row weights that of the scaled rows; goes over the rows once.

    Args:
        table: the table.
        table_source: of the run.
        stored_dtype: of floats: digits below its rounding are not asked for.

    Raises:
        NonFiniteError: the table holds NaN or infinity; names the file.
    """
    plain_rows, row_weights = table_source.rows(table, "spectrum"), table_source.row_weights(table)
    rows: Rows = plain_rows if row_weights is None else WeightedRows(plain_rows, row_weights)
    rank = min(table.rows, table.dim, RANK_MAX)
    try:
        return factorize(rows, rank, tolerance=STORING_ERROR[stored_dtype], seed=table_source.seed)
    except NonFiniteError as err:
        raise NonFiniteError(f"{table_source.checkpoint.path}: {err.message}", hint=err.hint) from err
