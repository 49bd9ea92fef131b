"""The words of the reports and what they mean, a sentence or two each: `embcompress explain` and the page show them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

WORDS: Mapping[str, str] = MappingProxyType(
    {
        "error": "The relative error of a table: the root of the sum of squared differences between the table and what "
        "is stored of it, divided by the root of the sum of its squares. 0 is exact, 1 is as bad as a table of zeros.",
        "bound": "The smallest error that any way of coding can reach in these bytes, if the table were Gaussian noise "
        "with the same singular values. It leaves out what decoding needs; tables with clusters can get below it.",
        "optimum": "The smallest error that any bases and weights of this rank can have (Eckart and Young).",
        "p99": "The value that 99 of 100 rows stay below; above p01 are 99 of 100, above p50, the median, half.",
        "cosine": "The cosine of the angle between a row and what is stored of it: 1 is the same direction.",
        "neighbours": "The share of the 10 nearest rows of a row, by cosine, that are still among its 10 nearest; "
        "±: the half of its 95 % confidence band, since a sample of the rows is asked.",
        "energy": "The sum of the squared numbers of a table, its squared norm. Directions that hold all of it leave "
        "nothing out, but their weights are rounded when they are coded: that is where the error then comes from.",
        "norm": "The length of a row: the root of the sum of its squares.",
        "worst group": "Rows are put into some ten groups by their norm. Of the group with the largest error.",
        "tied": "A table that has several names, such as the input and the output embedding of a language model; it is "
        "stored once.",
        "coded": "Weights stored as codes of few bits, which others call quantized; decoding needs a table of levels.",
        "plain": "Weights stored as floats.",
        "bases": "The vectors that all rows of a table share: each row is a weighted sum of them.",
        "weights": "The numbers by which a row adds up the bases.",
        "rank": "The number of bases.",
        "ratio": "Bytes of the tables before, divided by everything that decoding them needs after: what --ratio asks "
        "for. file_ratio is that of the whole file, which has other tensors, too.",
        "grade": "good, fair or poor: the worst of what a table's neighbours, cosine and worst group of rows say. The "
        "thresholds are in the report, and --grade changes them.",
        "gate": "A condition on a number of the report, by --fail-if or --baseline. Where one fails, the artifact is "
        "not written and the exit code is 3.",
        "check": "A property that an artifact must have, such as its checksums.",
        "baseline": "The JSON report of an earlier artifact that a new one must not be worse than.",
        "artifact": "The compressed file that approximate writes.",
        "table": "An embedding matrix of a checkpoint: a row for each id.",
        "dense": "Stored as a whole matrix of numbers, not compressed.",
        "states": "Of the trellis that the codes of a row are chosen with: more of them give less error.",
        "kinds": "Rows of like norm share a scale, and are of one kind.",
        "bits": "Bits per number of the table, everything counted that decoding needs.",
        "pass": "Once through all rows of a table.",
        "solver": "The method that found the bases.",
        "spectrum": "The singular values of a table; where they fall steeply, few bases hold most of it.",
        "MRR": "Mean reciprocal rank: the mean over all questions of 1 / rank of the right answer.",
        "withheld": "Measured, and not written, because a gate failed.",
    }
)


def find_word(word: str) -> str | None:
    """Find the word of WORDS that is meant, in any case and as a plural; None where there is none.

    Example:
        >>> find_word("P99"), find_word("energies"), find_word("worst-group"), find_word("gates")
        ('p99', 'energy', 'worst group', 'gate')
    """
    wanted = word.lower().replace("-", " ").replace("_", " ").strip()
    singular = (wanted, wanted.removesuffix("s"), wanted.removesuffix("es"), f"{wanted.removesuffix('ies')}y")
    by_lower = {known.lower(): known for known in WORDS}
    by_lower |= {"optimal": "optimum", "quantized": "coded", "p01": "p99", "p50": "p99", "neighbour": "neighbours"}
    by_lower |= {"median": "p99", "tie": "tied", "relative error": "error", "basis": "bases", "base": "bases"}
    by_lower |= {"file ratio": "ratio", "weight": "weights", "norm ratio": "norm", "state": "states", "kind": "kinds"}
    by_lower |= {"bit": "bits", "lossy": "coded"}
    return next((by_lower[one] for one in singular if one in by_lower), None)
