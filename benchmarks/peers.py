"""Formats in which embedding tables are stored in few bits today: the bytes of each and the error that it leaves.

    python peers.py

checks each format on normal samples and prints what it leaves on the token table of all-MiniLM-L6-v2, as Markdown.

Bytes are those of a format's payload: codes, scales, offsets, centroids and rotations of what decodes, and not the
headers of a file around them. Where a format leaves scales to its quantizer, they are searched for the least squared
error here, so that a format is never judged by a poor quantizer of it.

Blocks of a format lie within rows. Where the columns are no multiple of a block, rows are padded with zeros, which
count; since that is dear for narrow tables, such a format is also measured with blocks that run on across the rows,
padded at the table's end alone. No runtime that we know looks rows up in the latter; it only flatters the format.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import faiss
import numpy as np
import torch
from harness import table
from token_table import read_token_table
from torch import Tensor

SHRINKS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)  # of a row's largest entry: the scales tried for it
CHUNK_ENTRIES = 2**19  # searched for at a time, so that what a search holds stays in a processor's cache
SMALLEST = 1e-30  # of a divisor, where a block holds zeros alone

LANDINGS = tuple(0.80 + 0.05 * step for step in range(11))  # of a block's extreme entry, as shares of the last level
FINE_LANDINGS = tuple(0.94 + 0.02 * step for step in range(7))  # the same, for levels of 6 bits and more
RANGE_CUTS = (-0.02, 0.03, 0.08, 0.13, 0.2)  # of a block's range, at each end: the affine scales tried for it
REFINEMENTS = 3  # rounds over a superblock's integer scales; the third took 0.2 % off the error of Q4_K

FP8_LARGEST = 448.0  # of e4m3 without infinities
NF4_BLOCK = 64
NF4_SCALES_BLOCK = 256  # absmaxima quantized together
# Quantiles of the normal distribution, zero among them: appendix E of the paper that store_nf4 names.
NF4_LEVELS = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
# Of the format's definition: steps that grow away from zero.
IQ4_NL_LEVELS = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
K_BLOCK = 256  # entries of a superblock of GGUF

CENTROIDS = 256  # of a code of 8 bits
PQ_ROUNDS = 50  # of k-means; after the 25 of faiss, codes of 2 columns of the token table leave .0975, after 50 .0946
OPQ_ROUNDS = 50  # of the rotation, as in faiss
OPQ_ROWS = 2**14  # that the rotation is trained on
SEED = 20240229


@dataclass(frozen=True)
class Stored:
    """A contestant: what it stores a table in, its bytes, the error it leaves, and the seconds that making it took."""

    name: str
    nbytes: int
    relative: float
    seconds: str = ""


@dataclass(frozen=True)
class IntegerRows:
    """Rows as integers and a scale for each."""

    levels: Tensor  # (rows, dim) float32, all whole numbers
    scales: Tensor  # (rows, 1) float16

    @property
    def values(self) -> Tensor:
        """The rows that these stand for, (rows, dim) float32."""
        return self.levels * self.scales.float()


@dataclass(frozen=True)
class Blocks:
    """A table cut into blocks of equal size, padded with zeros."""

    entries: Tensor  # (count, size) float32
    shape: tuple[int, int]  # rows and columns of the table
    is_flat: bool  # blocks run on across the rows

    def table(self, entries: Tensor) -> Tensor:
        """Put decoded blocks (count, size) together to the table (rows, dim) again."""
        rows, dim = self.shape
        if self.is_flat:
            return entries.reshape(-1)[: rows * dim].view(rows, dim)
        return entries.reshape(rows, -1)[:, :dim]


@dataclass(frozen=True)
class Affine:
    """Scales and offsets of blocks: an entry is its level times the scale, plus the offset."""

    scales: Tensor  # (count, 1)
    offsets: Tensor  # (count, 1)


Rounding = Callable[[Tensor], Tensor]


def relative_error(values: Tensor, rebuilt: Tensor) -> float:
    """Measure ||values - rebuilt||_F / ||values||_F in float64."""
    pairs = list(zip(values.split(8192), rebuilt.split(8192), strict=True))
    left = sum(float((one.double() - two.double()).square().sum()) for one, two in pairs)
    return math.sqrt(left / sum(float(one.double().square().sum()) for one, _ in pairs))


# Floats


def store_cast(values: Tensor, dtype: torch.dtype) -> Stored:
    """Store every entry as a float of 16 bits.

    Source: IEEE 754 binary16; bfloat16, the upper half of binary32.
    """
    rebuilt = values.to(dtype)
    return Stored(str(dtype).removeprefix("torch."), values.numel() * 2, relative_error(values, rebuilt))


def store_fp8(values: Tensor, *, is_per_row: bool) -> Stored:
    """Store a byte an entry, of 4 bits of exponent and 3 of mantissa, and a float32 scale of each row or of the table.

    The largest entry lands at 448, the largest number.

    Source: Micikevicius et al., FP8 Formats for Deep Learning (2022), table 1, E4M3.
    """
    rows = len(values)
    largest = values.abs().amax(dim=1, keepdim=True) if is_per_row else values.abs().amax().expand(rows, 1)
    scales = (largest / FP8_LARGEST).clamp_min(SMALLEST)
    scaled = (values / scales).clamp(-FP8_LARGEST, FP8_LARGEST)  # a quotient rounded up past it would become NaN
    rebuilt = scaled.to(torch.float8_e4m3fn).float() * scales
    title = f"FP8 e4m3, a scale for {'each row' if is_per_row else 'the table'}"
    return Stored(title, values.numel() + 4 * (rows if is_per_row else 1), relative_error(values, rebuilt))


# Integers


def round_rows(values: Tensor, bits: int) -> IntegerRows:
    """Round each row to integers of 8 or 4 bits, by the best of a few float16 scales for it."""
    limit = 2 ** (bits - 1) - 1
    largest = values.abs().amax(dim=1, keepdim=True)
    least = torch.full_like(largest, math.inf)
    scales = torch.ones_like(largest, dtype=torch.float16)
    for shrink in SHRINKS:
        tried = (largest * shrink / limit).half()
        left = (values - round_to(values, tried, limit=limit) * tried.float()).square().sum(dim=1, keepdim=True)
        scales = torch.where(left < least, tried, scales)
        least = torch.minimum(left, least)
    return IntegerRows(round_to(values, scales, limit=limit), scales)


def round_to(values: Tensor, scales: Tensor, *, limit: int) -> Tensor:
    """Round rows (rows, dim) to integers of -limit - 1..limit under scales (rows, 1)."""
    return (values / scales.float().clamp_min(1e-30)).round().clamp(-limit - 1, limit)


def store_integer_rows(values: Tensor, bits: int) -> Stored:
    """Store integers of 8 or 4 bits and a float16 scale a row.

    Source: the symmetric scheme of Krishnamoorthi, Quantizing Deep Convolutional Networks (2018), section 2.2, a
    channel being a row.
    """
    rows, dim = values.shape
    nbytes = rows * (math.ceil(dim * bits / 8) + 2)
    return Stored(f"int{bits} per row", nbytes, relative_error(values, round_rows(values, bits).values))


def store_int4_groups(values: Tensor, *, is_flat: bool = False) -> Stored:
    """Store groups of 32 entries as 4-bit integers -8..7 and a float16 scale, of either sign: 4.5 bits an entry.

    Source: the layout of GGUF's Q4_0, and of GPTQ's and AWQ's symmetric int4 with groups of 32.
    """
    blocks = cut(values, 32, is_flat=is_flat)
    rebuilt = fit_levels(blocks.entries, whole_levels(-8, 7), landings=signed(-8.0, LANDINGS))
    title = name_blocks("int4 in groups of 32", is_flat)
    return Stored(title, 18 * len(blocks.entries), relative_error(values, blocks.table(rebuilt)))


# Levels of NF4


def store_nf4(values: Tensor) -> Stored:
    """Store blocks of 64 entries, across rows, as 4-bit quantiles of the normal distribution and an absmax of a byte.

    The absmaxima, less their mean, are 8-bit dynamic floats in blocks of 256 with a float32 scale each: 4.127 bits an
    entry, and a float32 mean. Nothing is searched: an absmax is the block's own.

    Source: Dettmers et al., QLoRA (2023), section 3, double quantization of NF4, and appendix E; Dettmers et al.,
    8-bit Optimizers via Block-wise Quantization (2022), section 1.3, the dynamic floats.
    """
    blocks = cut(values, NF4_BLOCK, is_flat=True)
    largest = blocks.entries.abs().amax(dim=1)
    count = len(largest)
    mean = largest.mean()
    groups = cut((largest - mean).view(1, -1), NF4_SCALES_BLOCK, is_flat=True)
    scales = groups.entries.abs().amax(dim=1, keepdim=True).clamp_min(SMALLEST)
    coded = nearest(dynamic_floats())(groups.entries / scales) * scales
    scale = (coded.reshape(-1)[:count] + mean).view(-1, 1)
    rebuilt = nearest(NF4_LEVELS)(blocks.entries / largest.clamp_min(SMALLEST).view(-1, 1)) * scale
    nbytes = math.ceil(values.numel() / 2) + count + 4 * len(groups.entries) + 4
    return Stored("NF4, double quantization", nbytes, relative_error(values, blocks.table(rebuilt)))


def dynamic_floats() -> tuple[float, ...]:
    """List the 256 numbers of the 8-bit dynamic float, ascending.

    After the sign, k zeros and a one say 10^-k, and the 6 - k bits that are left which of the 2^(6 - k) middles of
    equal steps between .1 and 1; beside these, 0 and 1.
    """
    positive = [
        10.0**-zeros * (0.1 + 0.9 * (step + 0.5) / 2 ** (6 - zeros))
        for zeros in range(7)
        for step in range(2 ** (6 - zeros))
    ]
    return tuple(sorted([*positive, *(-one for one in positive), 0.0, 1.0]))


# Blocks of GGUF


def store_q8_0(values: Tensor, *, is_flat: bool = False) -> Stored:
    """Store blocks of 32 entries as a float16 scale and 32 integers of 8 bits: 34 bytes, 8.5 bits an entry.

    Source: GGUF's Q8_0, in ggml's documentation of its tensor encodings.
    """
    blocks = cut(values, 32, is_flat=is_flat)
    rebuilt = fit_levels(blocks.entries, whole_levels(-127, 127), landings=signed(127.0, FINE_LANDINGS))
    title = name_blocks("GGUF Q8_0", is_flat)
    return Stored(title, 34 * len(blocks.entries), relative_error(values, blocks.table(rebuilt)))


def store_iq4_nl(values: Tensor, *, is_flat: bool = False) -> Stored:
    """Store blocks of 32 entries as a float16 scale and 32 of 16 uneven levels: 18 bytes, 4.5 bits an entry.

    The levels are not symmetric, so scales of both signs are tried.

    Source: GGUF's IQ4_NL, in ggml's documentation of its tensor encodings.
    """
    blocks = cut(values, 32, is_flat=is_flat)
    landings = [*signed(-127.0, LANDINGS), *signed(113.0, LANDINGS)]
    rebuilt = fit_levels(blocks.entries, nearest_whole(IQ4_NL_LEVELS), landings=landings)
    title = name_blocks("GGUF IQ4_NL", is_flat)
    return Stored(title, 18 * len(blocks.entries), relative_error(values, blocks.table(rebuilt)))


def store_q4_k(values: Tensor, *, is_flat: bool = False) -> Stored:
    """Store superblocks of 256 entries, 8 blocks of 32, as d s q - m t with q of 4 bits, s and t of 6 for each block.

    d and m are float16 of the superblock: 144 bytes, 4.5 bits an entry. Scales and offsets of the blocks are fitted
    first, then rounded to s and t, and these and d and m refined by turns.

    Source: GGUF's Q4_K, in ggml's documentation of its tensor encodings: "type-1" k-quants, scales and mins of 6 bits.
    """
    blocks = cut(values, K_BLOCK, is_flat=is_flat)
    rebuilt = torch.cat([fit_q4_k(chunk) for chunk in blocks.entries.split(CHUNK_ENTRIES // K_BLOCK)])
    title = name_blocks("GGUF Q4_K", is_flat)
    return Stored(title, 144 * len(blocks.entries), relative_error(values, blocks.table(rebuilt)))


def fit_q4_k(blocks: Tensor) -> Tensor:
    """Fit superblocks (count, 256), and decode them again."""
    entries = blocks.view(-1, 8, 32)
    start = fit_affine(blocks.view(-1, 32), top=15, is_offset_negative=True)
    scales, offsets = start.scales.view(-1, 8, 1), -start.offsets.view(-1, 8, 1)  # (count, 8, 1)
    factors = halve(torch.stack([scales, offsets]).amax(dim=2, keepdim=True) / 63)  # d and m: (2, count, 1, 1)
    steps = (torch.stack([scales, offsets]) / factors.clamp_min(SMALLEST)).round().clamp(0, 63)  # (2, count, 8, 1)

    def levels_of(steps: Tensor, factors: Tensor) -> Tensor:
        scale, offset = steps * factors
        return ((entries + offset) / scale.clamp_min(SMALLEST)).round().clamp(0, 15)

    def decode(steps: Tensor, factors: Tensor) -> Tensor:
        scale, offset = steps * factors
        return levels_of(steps, factors) * scale - offset

    def left_by(steps: Tensor, factors: Tensor) -> Tensor:
        return (decode(steps, factors) - entries).square().sum(dim=2, keepdim=True)  # (count, 8, 1)

    for _ in range(REFINEMENTS):
        least, best = left_by(steps, factors), steps
        for change in torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 2):
            tried = (steps + change.view(2, 1, 1, 1)).clamp(0, 63)
            left = left_by(tried, factors)
            best = torch.where(left < least, tried, best)
            least = torch.minimum(left, least)
        steps = best
        # Least squares for d and m over the superblock, of entries = d (s q) - m t.
        first = steps[0] * levels_of(steps, factors)
        second = -steps[1].expand_as(first)
        ones, cross, twos = (sum_of(one * two) for one, two in ((first, first), (first, second), (second, second)))
        along = [sum_of(one * entries) for one in (first, second)]
        determinant = ones * twos - cross * cross
        solved = torch.stack([twos * along[0] - cross * along[1], ones * along[1] - cross * along[0]]) / determinant
        is_solved = (determinant > 1e-6 * ones * twos) & (solved > 0).all(dim=0)
        tried = halve(torch.where(is_solved, solved, factors))
        is_less = sum_of(left_by(steps, tried)) < sum_of(least)
        factors = torch.where(is_less, tried, factors)
    return decode(steps, factors).view(-1, K_BLOCK)


def store_q6_k(values: Tensor, *, is_flat: bool = False) -> Stored:
    """Store superblocks of 256 entries, 16 blocks of 16, as d s q with q of 6 bits and s of 8 for each block.

    d is float16 of the superblock: 210 bytes, 6.5625 bits an entry. Scales of the blocks are fitted first, then rounded
    to s, and these and d refined by turns.

    Source: GGUF's Q6_K, in ggml's documentation of its tensor encodings: "type-0" k-quants, scales of 8 bits.
    """
    blocks = cut(values, K_BLOCK, is_flat=is_flat)
    rebuilt = torch.cat([fit_q6_k(chunk) for chunk in blocks.entries.split(CHUNK_ENTRIES // K_BLOCK)])
    title = name_blocks("GGUF Q6_K", is_flat)
    return Stored(title, 210 * len(blocks.entries), relative_error(values, blocks.table(rebuilt)))


def fit_q6_k(blocks: Tensor) -> Tensor:
    """Fit superblocks (count, 256), and decode them again."""
    entries = blocks.view(-1, 16, 16)
    rounding = whole_levels(-32, 31)
    scales = fit_scales(blocks.view(-1, 16), rounding, landings=signed(-32.0, FINE_LANDINGS)).view(-1, 16, 1)
    extremes = scales.gather(1, scales.abs().argmax(dim=1, keepdim=True))  # (count, 1, 1)
    factors = halve(extremes / -128)
    steps = (scales / guard(factors)).round().clamp(-128, 127)  # (count, 16, 1)

    def left_by(steps: Tensor, factors: Tensor) -> Tensor:
        scale = steps * factors
        return (rounding(entries / guard(scale)) * scale - entries).square().sum(dim=2, keepdim=True)

    for _ in range(REFINEMENTS):
        least, best = left_by(steps, factors), steps
        for change in (-1, 1):
            tried = (steps + change).clamp(-128, 127)
            left = left_by(tried, factors)
            best = torch.where(left < least, tried, best)
            least = torch.minimum(left, least)
        steps = best
        units = steps * rounding(entries / guard(steps * factors))
        tried = halve(sum_of(units * entries) / sum_of(units * units).clamp_min(SMALLEST))
        is_less = sum_of(left_by(steps, tried)) < sum_of(least)
        factors = torch.where(is_less, tried, factors)
    scale = steps * factors
    return (rounding(entries / guard(scale)) * scale).view(-1, K_BLOCK)


# Groups of MLX


def store_mlx(values: Tensor, *, bits: int, is_flat: bool = False) -> Stored:
    """Store groups of 64 entries as integers of `bits` bits, a float16 scale and a float16 offset.

    MLX itself takes them from the extremes of a group; they are fitted here, which at 2 bits halves the squared error.

    Source: MLX's documentation of mlx.core.quantize, mode "affine", scales and biases in the dtype of a float16 table.
    """
    blocks = cut(values, 64, is_flat=is_flat)
    top = 2**bits - 1
    parts = []
    for chunk in blocks.entries.split(CHUNK_ENTRIES // 64):
        affine = fit_affine(chunk, top=top, is_half=True)
        parts.append(affine_levels(chunk, affine, top) * affine.scales + affine.offsets)
    title = name_blocks(f"MLX affine {bits} bits, groups of 64", is_flat)
    nbytes = (8 * bits + 4) * len(blocks.entries)
    return Stored(title, nbytes, relative_error(values, blocks.table(torch.cat(parts))))


# Codes of faiss


def store_pq(values: Tensor, columns: int) -> Stored:
    """Store a byte for every `columns` columns, the number of a centroid, and the float32 centroids of each place.

    Source: Jégou et al., Product Quantization for Nearest Neighbor Search (2011), section 2.2; faiss.ProductQuantizer.
    """
    codes = values.shape[1] // columns
    rebuilt = train_pq(values, codes)
    return Stored(f"faiss PQ {codes} x 8 bits", count_pq(values, codes), relative_error(values, rebuilt))


def store_opq(values: Tensor, columns: int) -> Stored:
    """Store the codes of a PQ of rotated rows, its centroids, and the float32 rotation that was trained for it.

    The rotation starts with the principal axes dealt out so that the codes' shares of the columns have like products of
    variances. Then, by turns, a round of k-means, and the rotation of least squared error for what decodes. A PQ
    follows on all rows.

    Source: Ge et al., Optimized Product Quantization (2014): the parametric solution to start with, then the
    non-parametric one.
    """
    dim = values.shape[1]
    codes = dim // columns
    rotation = balance(values, codes)  # (dim, dim): a row times it is rotated
    sample = values[shuffle(len(values))[:OPQ_ROWS]]
    quantizer = start_pq(sample @ rotation, codes)
    for _ in range(OPQ_ROUNDS):
        rebuilt = improve_pq(quantizer, sample @ rotation)
        left, _, right = torch.linalg.svd(sample.T @ rebuilt)
        rotation = left @ right
    rebuilt = train_pq(values @ rotation, codes) @ rotation.T
    nbytes = count_pq(values, codes) + 4 * dim * dim
    return Stored(f"faiss OPQ {codes} x 8 bits", nbytes, relative_error(values, rebuilt))


def balance(values: Tensor, codes: int) -> Tensor:
    """Deal the principal axes out to codes, each next to that of the least product of variances so far; (dim, dim)."""
    dim = values.shape[1]
    variances, axes = torch.linalg.eigh((values.T @ values).double())
    logarithms = variances.clamp_min(SMALLEST).log()
    logarithms = logarithms - logarithms.min()  # of products that grow, so that a share that is full is not the least
    shares: list[list[int]] = [[] for _ in range(codes)]
    sums = [0.0] * codes
    for axis in range(dim - 1, -1, -1):
        free = [code for code in range(codes) if len(shares[code]) < dim // codes]
        least = min(free, key=lambda code: sums[code])
        shares[least].append(axis)
        sums[least] += float(logarithms[axis])
    return axes[:, [axis for share in shares for axis in share]].float().contiguous()


def count_pq(values: Tensor, codes: int) -> int:
    """Count a byte a code, and the centroids."""
    rows, dim = values.shape
    return rows * codes + 4 * CENTROIDS * dim


def train_pq(values: Tensor, codes: int) -> Tensor:
    """Train a PQ on rows (rows, dim), and give what it decodes."""
    quantizer = start_pq(values, codes)
    for _ in range(PQ_ROUNDS):
        improve_pq(quantizer, values)
    return decode_pq(quantizer, quantizer.compute_codes(values.numpy()))


def start_pq(values: Tensor, codes: int) -> faiss.ProductQuantizer:
    """Make a PQ of codes of 8 bits whose centroids are random rows."""
    rows, dim = values.shape
    quantizer = faiss.ProductQuantizer(dim, codes, 8)
    chosen = values[shuffle(rows)[:CENTROIDS]]
    put_centroids(quantizer, chosen.view(CENTROIDS, codes, -1).transpose(0, 1))
    return quantizer


def improve_pq(quantizer: faiss.ProductQuantizer, values: Tensor) -> Tensor:
    """Make one round of k-means in all codes, and give what the rows' codes now decode to.

    As in faiss, whose own training takes eight times as long, for it does not assign rows as its encoding does. A
    centroid that has no rows moves to a random row.
    """
    rows, dim = values.shape
    codes, size = quantizer.M, quantizer.dsub
    assigned = torch.from_numpy(quantizer.compute_codes(values.numpy()).astype(np.int64))  # (rows, codes)
    places = (assigned + CENTROIDS * torch.arange(codes)).view(-1)  # of all codes' centroids, one after the other's
    sums = torch.zeros(codes * CENTROIDS, size).index_add_(0, places, values.reshape(-1, size))
    counts = torch.bincount(places, minlength=codes * CENTROIDS).view(-1, 1)
    spare = values[shuffle(rows)[:CENTROIDS]].view(CENTROIDS, codes, size).transpose(0, 1).reshape(-1, size)
    centroids = torch.where(counts > 0, sums / counts.clamp_min(1), spare)
    put_centroids(quantizer, centroids)
    return centroids[places].view(rows, dim)


def put_centroids(quantizer: faiss.ProductQuantizer, centroids: Tensor) -> None:
    """Give a PQ its centroids (codes, 256, columns)."""
    faiss.copy_array_to_vector(centroids.contiguous().numpy().ravel(), quantizer.centroids)


def decode_pq(quantizer: faiss.ProductQuantizer, codes: np.ndarray) -> Tensor:
    """Decode rows of codes."""
    return torch.from_numpy(quantizer.decode(codes))


def shuffle(rows: int) -> Tensor:
    """Put the rows' numbers in a random order, always the same."""
    return torch.randperm(rows, generator=torch.Generator().manual_seed(SEED))


def store_rabitq(values: Tensor, bits: int) -> Stored:
    """Store the sign and `bits` - 1 bits of the magnitude of every entry of the rotated rows, less their mean.

    A row has two float32 factors beside these with 1 bit, five with more: faiss's code, all of it counted, and the
    mean. The rotation is random and counts nothing, since a seed makes it again. Decoding in faiss knows the signs
    alone; here the factors give the scale of least squares of the whole code: with residual r and the code's levels u,
    r is about u <u, r> / <u, u>.

    Source: Gao & Long, RaBitQ (2024), and Gao et al., Practical and Asymptotically Optimal Quantization of
    High-Dimensional Vectors (2024); layout of codes: faiss.IndexRaBitQ.
    """
    rows, dim = values.shape
    rotation = faiss.RandomRotationMatrix(dim, dim)
    rotation.init(SEED)
    index = faiss.IndexRaBitQ(dim, faiss.METRIC_L2, bits)
    rotated = rotation.apply(values.numpy())
    index.train(rotated)
    codes = index.sa_encode(rotated)  # (rows, code_size)
    center = faiss.vector_to_array(index.center)
    sign_bytes = math.ceil(dim / 8)
    levels = np.unpackbits(codes[:, :sign_bytes], axis=1, count=dim, bitorder="little").astype(np.float32) - 0.5
    at = sign_bytes + 12  # where the bits of the magnitudes begin
    if bits == 1:
        squares, multiplier = codes[:, sign_bytes : sign_bytes + 8].copy().view(np.float32).T
        along = divide(squares * math.sqrt(dim) / 2, multiplier)  # <u, r>
    else:
        more = bits - 1
        end = at + math.ceil(dim * more / 8)
        magnitudes = np.unpackbits(codes[:, at:end], axis=1, count=dim * more, bitorder="little")
        weights = (2.0 ** np.arange(more)).astype(np.float32)
        levels = levels * 2**more + (magnitudes.reshape(rows, dim, more) @ weights) - (2**more - 1) / 2
        squares, multiplier = codes[:, end : end + 8].copy().view(np.float32).T
        along = divide(-2 * squares, multiplier)
    scales = along / np.square(levels).sum(axis=1)
    rebuilt = rotation.reverse_transform(levels * scales[:, None] + center)
    nbytes = rows * index.sa_code_size() + 4 * dim
    bits_named = f"{bits} bit{'s' * (bits > 1)} an entry"
    return Stored(f"faiss RaBitQ, {bits_named}", nbytes, relative_error(values, torch.from_numpy(rebuilt)))


def divide(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Divide, with 0 where the denominator is 0."""
    return np.divide(numerators, denominators, out=np.zeros_like(numerators), where=denominators != 0)


# Blocks and their scales


def cut(values: Tensor, size: int, *, is_flat: bool) -> Blocks:
    """Cut rows, or the whole table, into blocks of `size` entries, the last padded with zeros."""
    rows, dim = values.shape
    lines = values.reshape(1, -1) if is_flat else values
    padded = torch.nn.functional.pad(lines, (0, -lines.shape[1] % size))
    return Blocks(padded.reshape(-1, size).contiguous(), (rows, dim), is_flat)


def name_blocks(title: str, is_flat: bool) -> str:
    """Name a format, and where its blocks lie if not within rows."""
    return f"{title}, across rows" if is_flat else title


def fit_levels(blocks: Tensor, rounding: Rounding, *, landings: Sequence[float]) -> Tensor:
    """Give each block (count, size) the float16 scale of least squared error, and decode it again."""
    parts = []
    for chunk in blocks.split(CHUNK_ENTRIES // blocks.shape[1]):
        scales = fit_scales(chunk, rounding, landings=landings, is_half=True)
        parts.append(rounding(chunk / guard(scales)) * scales)
    return torch.cat(parts)


def fit_scales(blocks: Tensor, rounding: Rounding, *, landings: Sequence[float], is_half: bool = False) -> Tensor:
    """Search the scale (count, 1) of least squared error for each block (count, size).

    Starts with the block's extreme entry at each of the levels `landings` in turn; from there by least squares for the
    levels that the entries have, scale = <levels, entries> / <levels, levels>, twice.
    """
    extremes = blocks.gather(1, blocks.abs().argmax(dim=1, keepdim=True))
    best = torch.zeros_like(extremes)
    least = sum_of_row(blocks.square())

    for landing in landings:
        tried = extremes / landing
        for _ in range(2):
            levels = rounding(blocks / guard(tried))
            tried = sum_of_row(levels * blocks) / sum_of_row(levels.square()).clamp_min(SMALLEST)
        tried = halve(tried) if is_half else tried
        left = sum_of_row((rounding(blocks / guard(tried)) * tried - blocks).square())
        best = torch.where(left < least, tried, best)
        least = torch.minimum(left, least)
    return best


def fit_affine(blocks: Tensor, *, top: int, is_half: bool = False, is_offset_negative: bool = False) -> Affine:
    """Search the scale and offset (count, 1) of least squared error for levels 0..top of each block (count, size).

    Starts with the block's range less each of RANGE_CUTS at either end; from there by least squares for the levels that
    the entries have, twice.

    Args:
        blocks: (count, size).
        top: the last level.
        is_half: scale and offset are float16.
        is_offset_negative: the offset is at most 0, as in GGUF's k-quants.
    """
    low, high = blocks.amin(dim=1, keepdim=True), blocks.amax(dim=1, keepdim=True)
    if is_offset_negative:
        low, high = low.clamp_max(0), high.clamp_min(0)
    mean = blocks.mean(dim=1, keepdim=True)
    best = Affine(torch.zeros_like(low), torch.zeros_like(low))
    least = sum_of_row(blocks.square())
    for below, above in itertools.product(RANGE_CUTS, repeat=2):
        tried = Affine((high - low) * (1 - below - above) / top, low + below * (high - low))
        for _ in range(2):
            levels = affine_levels(blocks, tried, top)
            centered = levels - levels.mean(dim=1, keepdim=True)
            scales = sum_of_row(centered * blocks) / sum_of_row(centered.square()).clamp_min(SMALLEST)
            offsets = mean - scales * levels.mean(dim=1, keepdim=True)
            if is_offset_negative:
                plain = sum_of_row(levels * blocks) / sum_of_row(levels.square()).clamp_min(SMALLEST)
                scales = torch.where(offsets > 0, plain.clamp_min(0), scales)
                offsets = offsets.clamp_max(0)
            tried = Affine(scales, offsets)
        if is_half:
            tried = Affine(halve(tried.scales), halve(tried.offsets))
        levels = affine_levels(blocks, tried, top)
        left = sum_of_row((levels * tried.scales + tried.offsets - blocks).square())
        is_less = left < least
        scales, offsets = (
            torch.where(is_less, one, two) for one, two in ((tried.scales, best.scales), (tried.offsets, best.offsets))
        )
        best, least = Affine(scales, offsets), torch.minimum(left, least)
    return best


def affine_levels(blocks: Tensor, affine: Affine, top: int) -> Tensor:
    """Round blocks (count, size) to levels 0..top."""
    return ((blocks - affine.offsets) / guard(affine.scales)).round().clamp(0, top)


def whole_levels(low: int, high: int) -> Rounding:
    """Make the rounding to whole numbers of low..high."""
    return lambda scaled: scaled.round().clamp(low, high)


def nearest(levels: Sequence[float]) -> Rounding:
    """Make the rounding to the nearest of some levels, which ascend."""
    sorted_levels = torch.tensor(levels, dtype=torch.float32)
    middles = (sorted_levels[1:] + sorted_levels[:-1]) / 2
    return lambda scaled: sorted_levels[torch.bucketize(scaled, middles)]


def nearest_whole(levels: Sequence[int]) -> Rounding:
    """Make the rounding to the nearest of some whole levels, which ascend: by a table, four times as fast.

    Half-open intervals of length 1/2 begin at the multiples of 1/2, where all middles between levels lie.
    """
    low, high = levels[0], levels[-1]
    halves = torch.arange(2 * low, 2 * high + 1) / 2 + 0.25
    by_half = nearest(levels)(halves)
    return lambda scaled: by_half[((scaled - low) * 2).clamp(0, len(halves) - 1).int()]


def signed(edge: float, shares: Sequence[float]) -> list[float]:
    """List shares of a last level."""
    return [edge * share for share in shares]


def guard(divisors: Tensor) -> Tensor:
    """Put a number that divides zeros to zeros in the place of 0."""
    return torch.where(divisors == 0, torch.ones_like(divisors), divisors)


def halve(values: Tensor) -> Tensor:
    """Round to float16."""
    return values.half().float()


def sum_of_row(values: Tensor) -> Tensor:
    """Sum each block: (count, size) to (count, 1)."""
    return values.sum(dim=1, keepdim=True)


def sum_of(values: Tensor) -> Tensor:
    """Sum each superblock: (count, blocks, size) to (count, 1, 1)."""
    return values.sum(dim=(1, 2), keepdim=True)


# All of them


def write_error(relative: float) -> str:
    """Write a relative error in the digits that tell it from those of other formats."""
    return f"{relative:.5f}" if relative == 0 or relative >= 1e-4 else f"{relative:.1e}"


def store_by_peers(values: Tensor) -> Iterator[Stored]:
    """Store a table (rows, dim) float32 in each of the formats."""
    yield from store_by_rounding(values)
    dim = values.shape[1]
    yield from (store_pq(values, columns) for columns in (2, 4) if dim % columns == 0)
    yield from (store_opq(values, columns) for columns in (4, 8) if dim % columns == 0)


def store_by_rounding(values: Tensor) -> Iterator[Stored]:
    """Store a table in each of the formats that need no training."""
    for dtype in (torch.float16, torch.bfloat16):
        yield store_cast(values, dtype)
    yield store_fp8(values, is_per_row=True)
    yield store_fp8(values, is_per_row=False)
    for bits in (8, 4):
        yield store_integer_rows(values, bits)
    yield from store_in_blocks(store_q8_0, values, size=32)
    yield from store_in_blocks(store_q6_k, values, size=K_BLOCK)
    yield from store_in_blocks(store_q4_k, values, size=K_BLOCK)
    yield from store_in_blocks(store_iq4_nl, values, size=32)
    yield from store_in_blocks(store_int4_groups, values, size=32)
    for bits in (4, 2):
        yield from store_in_blocks(partial(store_mlx, bits=bits), values, size=64)
    yield store_nf4(values)
    for bits in (4, 2, 1):
        yield store_rabitq(values, bits)


def store_in_blocks(store: Callable[..., Stored], values: Tensor, *, size: int) -> Iterator[Stored]:
    """Store with blocks within rows, and across rows too where that differs."""
    yield store(values)
    if values.shape[1] % size:
        yield store(values, is_flat=True)


@dataclass(frozen=True)
class Expected:
    """The range in which the error of a format on normal samples lies, and its bits an entry, 256 columns wide."""

    low: float
    high: float
    bits: float


# Uniform levels of 4 bits leave .1074 (Max, Quantizing for Minimum Distortion, 1960, table II), uneven ones .0975
# (table I), both with one scale for all; a scale for each block may leave less, for it costs bits.
EXPECTED = {
    "float16": Expected(1.6e-4, 2.2e-4, 16),
    "bfloat16": Expected(1.3e-3, 1.8e-3, 16),
    "GGUF Q8_0": Expected(0.0035, 0.0055, 8.5),
    "FP8 e4m3, a scale for each row": Expected(0.025, 0.028, 8.125),
    "FP8 e4m3, a scale for the table": Expected(0.025, 0.028, 8),
    "int8 per row": Expected(0.0055, 0.008, 8.0625),
    "GGUF Q6_K": Expected(0.014, 0.020, 6.5625),
    "GGUF Q4_K": Expected(0.065, 0.085, 4.5),
    "GGUF IQ4_NL": Expected(0.065, 0.085, 4.5),
    "int4 in groups of 32": Expected(0.070, 0.090, 4.5),
    "MLX affine 4 bits, groups of 64": Expected(0.070, 0.095, 4.5),
    "NF4, double quantization": Expected(0.085, 0.105, 4.127),
    "int4 per row": Expected(0.105, 0.120, 4.0625),
    "faiss RaBitQ, 4 bits an entry": Expected(0.095, 0.115, 4.625),
    "MLX affine 2 bits, groups of 64": Expected(0.31, 0.37, 2.5),
    "faiss RaBitQ, 2 bits an entry": Expected(0.33, 0.36, 2.625),
    "faiss RaBitQ, 1 bit an entry": Expected(0.59, 0.61, 1.25),
}


def check_peers() -> None:
    """Hold every format to a known error and size on normal samples, and to rows of zeros.

    No error lies below 2^-bits, the least that bits an entry can leave of normal samples: that tells of a miscount.

    Raises:
        SystemExit: an error or size outside its range; names the format.
    """
    values = torch.randn(2048, 256, generator=torch.Generator().manual_seed(0))
    made = list(store_by_rounding(values))
    for stored in made:
        expected = EXPECTED[stored.name]
        bits = stored.nbytes * 8 / values.numel()
        check(abs(bits - expected.bits) < 0.02, f"{stored.name} takes {bits:.4f} bits, not {expected.bits}")
        is_within = expected.low <= stored.relative <= expected.high
        check(is_within, f"{stored.name} leaves {stored.relative:.5f}, not {expected.low} to {expected.high}")
        check(stored.relative > 2**-bits, f"{stored.name} leaves {stored.relative:.5f}, less than can be")
    check({stored.name for stored in made} == EXPECTED.keys(), "a format was left out")
    points = torch.randn(2**14, 16, generator=torch.Generator().manual_seed(1))
    for stored in (store_pq(points, 2), store_opq(points, 2)):
        # Many centroids in the plane, 256 here, leave sqrt(5 / (36 sqrt 3) 8 pi / 256) = .0887 at best (Zador).
        check(0.088 < stored.relative < 0.096, f"{stored.name} leaves {stored.relative:.5f}, not about .091")
    values[::3] = 0
    values[1::3] = 1
    for stored in store_by_rounding(values[:, :200] * 1e-3):
        check(math.isfinite(stored.relative), f"{stored.name} leaves {stored.relative} with rows of zeros")


def check(is_true: bool, complaint: str) -> None:
    """Stop with a complaint unless something is true."""
    if not is_true:
        raise SystemExit(complaint)


def main() -> None:
    """Check the formats, and print what each leaves on the token table."""
    check_peers()
    values = read_token_table()
    print(f"**Formats of few bits on the token table of all-MiniLM-L6-v2, {values.shape[0]} x {values.shape[1]}**\n")
    lines = []
    for stored in sorted(store_by_peers(values), key=lambda stored: -stored.nbytes):
        ratio = f"1/{values.numel() * 4 / stored.nbytes:.2f}"
        bits = f"{stored.nbytes * 8 / values.numel():.3f}"
        lines.append([stored.name, f"{stored.nbytes:,}", ratio, bits, write_error(stored.relative)])
    print(table(["stored in", "bytes", "of the float32 bytes", "bits an entry", "relative error"], lines))


if __name__ == "__main__":
    main()
