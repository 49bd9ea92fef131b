"""Literal tables of what can be chosen or compared: one list for the modules, the command line and the tests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from embcompress.exceptions import UsageError
from embcompress.text import did_you_mean

INITIALIZERS: Mapping[str, str] = MappingProxyType(
    {
        "xavier_uniform": "U(-a, a), a = gain * sqrt(6 / f), f the entries of a row",
        "xavier_uniform_norm": "the same, each row scaled to unit norm",
        "xavier_normal": "N(0, gain^2 * 2 / f)",
        "xavier_normal_norm": "the same, each row scaled to unit norm",
        "normal": "N(mean, std^2), by default N(0, 1)",
        "normal_norm": "the same, each row scaled to unit norm",
        "uniform": "U(a, b), by default U(0, 1)",
        "uniform_norm": "the same, each row scaled to unit norm of order p",
        "uniform_norm_p1": "U(0, 1), each row scaled to unit L1 norm",
        "init_phases": "(cos, sin) pairs of phases from U(0, 2 pi)",
        "init_quaternions": "quaternions of random axis and angle, of moduli up to 1 / sqrt(2 * rows)",
        "pretrained": "values given",
    }
)  # a function of embcompress.nn.initializers -> what it draws from
FITTED: Mapping[str, str] = MappingProxyType(
    {
        "zeros": "zeros",
        "mean": "the mean of the base rows",
        "gaussian": "a normal distribution with mean and covariance of the base rows",
    }
)
# The values of one need a table, the scale of the other the number of all rows, where rows are drawn in blocks.
NO_METHODS = ("pretrained", "init_quaternions")
METHODS: Mapping[str, str] = MappingProxyType(
    {name: what for name, what in INITIALIZERS.items() if name not in NO_METHODS} | dict(FITTED)
)
NO_CONSTRAINER = "none"  # of --constrainer: not even that of a pickled model
CONSTRAINERS: Mapping[str, str] = MappingProxyType(
    {
        "normalize": "each row to unit norm of order p, by default 2",
        "complex_normalize": "each complex entry to unit modulus",
        "clamp": "each entry to min..max",
        "clamp_norm": "the norm of each row to at most maxnorm",
    }
)  # a function of embcompress.nn.constrainers -> what it does to rows
DEFAULT_METHOD = "gaussian"

STORED_DTYPES = ("same", "float32", "float16", "bfloat16")  # of --dtype
DEFAULT_NEIGHBOURS = 100  # queries of a table: a band of some +-3 %, at the cost of two products with 100 columns


@dataclass(frozen=True)
class StoringMethod:
    """A way of storing a table that a sweep measures: as codes where no attribute is given.

    Attributes:
        float_dtype: of bases and weights as floats, with as many bases as a size allows.
        integer_bits: of integers with a scale for each row, which have one size only.
        dense_dtype: of the table itself, rounded to shorter floats, which has one size only.
    """

    float_dtype: str | None = None
    integer_bits: int | None = None
    dense_dtype: str | None = None

    @property
    def has_one_size(self) -> bool:
        """Whether it has one size only."""
        return self.integer_bits is not None or self.dense_dtype is not None


STORING_METHODS: Mapping[str, StoringMethod] = MappingProxyType(
    {
        "coded": StoringMethod(),
        "plain float32": StoringMethod(float_dtype="float32"),
        "plain float16": StoringMethod(float_dtype="float16"),
        "int8 per row": StoringMethod(integer_bits=8),
        "int4 per row": StoringMethod(integer_bits=4),
        "float16": StoringMethod(dense_dtype="float16"),
    }
)  # by its name in a report


DENSE_FORMS: Mapping[str, str] = MappingProxyType(
    {
        "safetensors": ".safetensors",
        "bin": ".bin",
        "npy": ".npy",
        "npz": ".npz",
        "word2vec": ".word2vec.txt",
        "word2vec-binary": ".word2vec-binary.bin",
        "glove": ".glove.txt",
    }
)  # of --to, what a dense model is written as -> the ending of its file


EXPORT_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "gguf:q8_0": "GGUF, 8.5 bits a number",
        "gguf:q4_0": "GGUF, 4.5 bits a number",
        "gguf:iq4_nl": "GGUF, 4.5 bits a number of 16 uneven levels",
        "torch:int8": "rows that torch's embedding bag of bytes reads",
        "torch:int4": "rows that torch's embedding bag of 4 bits reads",
        "compressed-tensors:w8": "a folder for compressed-tensors, 8 bits a number and a scale for 128",
        "compressed-tensors:w4": "a folder for compressed-tensors, 4 bits a number and a scale for 128",
        "onnx:int8": "an ONNX model, ids to rows, 8.5 bits a number",
        "onnx:int4": "an ONNX model with an operator of onnxruntime's own, 4.6 bits a number",
        "pykeen": "a state dict of PyKEEN's LowRankRepresentation, from an artifact of bases and weights",
        "model2vec:float16": "a folder for model2vec's StaticModel",
        "model2vec:int8": "the same, 8 bits a number and a scale for a row",
        "word2vec": "word2vec's binary file",
        "word2vec:text": "word2vec's text file",
        "npy": "float32 of one table for NumPy",
        "npz": "float32 of all tables for NumPy",
    }
)  # of export --to -> what it is; embcompress.exports.quantized.KINDS writes them


# Of forms with a word before each row: the characters that end one, so that no word may hold them.
WORD_ENDS: Mapping[str, str] = MappingProxyType({"word2vec": "\n\r", "word2vec-binary": " \n", "glove": "\n\r"})


@dataclass(frozen=True)
class Choice:
    """A name of one of the lists above, with its arguments.

    Example:
        >>> Choice.parse("uniform:a=-0.1,b=0.1", METHODS, option="--method")
        Choice(name='uniform', arguments={'a': -0.1, 'b': 0.1})
    """

    name: str
    arguments: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, choices: Mapping[str, str], *, option: str) -> Choice:
        """Read `NAME` or `NAME:key=number,key=number`.

        Raises:
            UsageError: no such name, or arguments that are no numbers.
        """
        name, _, listed = text.partition(":")
        if name not in choices:
            raise UsageError(
                f"{option} must be one of {', '.join(choices)}; got {name!r}.",
                hint=did_you_mean(name, choices),
            )
        arguments = {}
        for part in filter(None, listed.split(",")):
            key, _, number = part.partition("=")
            try:
                value = float(number)
            except ValueError:
                value = math.nan
            if not math.isfinite(value) or key in arguments:
                raise UsageError(f"{option} {text}: arguments are key=number, each once; got {part!r}.")
            arguments[key] = value
        return cls(name, arguments)

    def __str__(self) -> str:
        listed = ",".join(f"{key}={value:g}" for key, value in self.arguments.items())
        return f"{self.name}:{listed}" if listed else self.name
