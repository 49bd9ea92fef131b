"""Train the sample checkpoints, or print what is left of their scores after compression.

    python sample_checkpoints/make_samples.py                      train and save all four, about two minutes
    python sample_checkpoints/make_samples.py --output DIR         the same into another folder
    python sample_checkpoints/make_samples.py --scores             compress, reconstruct and score; Markdown on stdout

Needs PyKEEN (`pip install -e '.[pykeen]'`) and no network: Kinships comes inside the PyKEEN package, and the words
come from the docstrings of the Python that runs this. Training uses one thread and fixed seeds, so a rerun on the same
machine with the same Python and packages gives the same bytes.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import logging
import pickletools
import re
import socket
import sysconfig
import tempfile
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pykeen.datasets import Kinships
from pykeen.evaluation import RankBasedEvaluator
from pykeen.models import Model
from pykeen.pipeline import pipeline
from pykeen.regularizers import NoRegularizer, Regularizer
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
SEED = 20240229
BASES = (8, 16, 32)  # the ranks that --scores prints
LEAST_GAIN = 3.0  # a sample is refused unless its MRR is at least this many times a random ranking's

DIM = 64  # columns of the word table
NEIGHBOURS = 4  # words on each side from which the word between them is predicted
MIN_COUNT = 8  # occurrences in the training docstrings that make a word part of the vocabulary
WORD_EPOCHS = 8  # two more raise the held-out MRR by 0.4 % only
WORD_BATCH = 1024
HELD_OUT_ONE_IN = 10  # files of the standard library kept away from training
# Left out of the text: what some distributions package apart from Python, so that fewer machines differ.
SKIPPED_FOLDERS = {
    *("dist-packages", "encodings", "ensurepip", "idlelib", "lib2to3"),
    *("pydoc_data", "site-packages", "test", "tests", "tkinter", "turtledemo"),
}


@dataclass(frozen=True)
class Score:
    """A mean reciprocal rank (1 is best), and what rankings that learned nothing reach on the same questions."""

    mrr: float
    random_mrr: float
    frequency_mrr: float | None = None  # candidates ranked by how frequent they are, whatever the question

    def require_trained(self, name: str) -> None:
        """Stop the script if the model `name` did not learn enough to be worth shipping."""
        if self.mrr < LEAST_GAIN * self.random_mrr:
            message = (
                f"{name}: MRR {self.mrr:.4f} is below {LEAST_GAIN:g} times random ({self.random_mrr:.4f}); not saved."
            )
            raise SystemExit(message)


def reciprocal_rank_of_random(candidates: int) -> float:
    """Return the expected reciprocal rank of the answer in a random order: H_n / n = (1 + 1/2 + ... + 1/n) / n."""
    return sum(1 / rank for rank in range(1, candidates + 1)) / candidates


# ---------------------------------------------------------------------------------------------- knowledge graphs


@dataclass(frozen=True)
class GraphSample:
    """A PyKEEN model on Kinships: 104 people, 25 kinds of kinship, 8544 + 1068 + 1074 triples."""

    name: str
    model: str
    model_kwargs: Mapping[str, Any]
    optimizer_kwargs: Mapping[str, Any]
    epochs: int
    with_safetensors: bool = False
    checkpoint: str = "trained_model.pkl"

    def train(self) -> Model:
        """Train by PyKEEN's pipeline: every tail is scored for each (head, relation), softmax cross entropy, Adam."""
        result = pipeline(
            dataset="kinships",
            model=self.model,
            model_kwargs=dict(self.model_kwargs),
            training_loop="lcwa",
            loss="crossentropy",
            optimizer="Adam",
            optimizer_kwargs=dict(self.optimizer_kwargs),
            training_kwargs={"num_epochs": self.epochs, "batch_size": 256, "use_tqdm": False},
            evaluation_kwargs={"use_tqdm": False},
            random_seed=SEED,
            device="cpu",
        )
        for module in result.model.modules():
            if isinstance(module, Regularizer):
                module.reset()  # what the last evaluation added up is no part of the model
        return result.model

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write what PipelineResult.save_to_directory writes, as far as it is the model and its labels."""
        folder.mkdir(parents=True, exist_ok=True)
        # Protocol 5 is what PyKEEN takes (pickle.HIGHEST_PROTOCOL); named, so that a later Python gives the same bytes.
        torch.save(model, folder / self.checkpoint, pickle_protocol=5)
        require_portable(folder / self.checkpoint)
        training = Kinships().training
        save_labels(training.entity_to_id, folder / "training_triples" / "entity_to_id.tsv.gz")
        save_labels(training.relation_to_id, folder / "training_triples" / "relation_to_id.tsv.gz")
        if self.with_safetensors:
            content = safetensors.torch.save(dict(model.state_dict()), metadata={"format": "pt"})
            (folder / "model.safetensors").write_bytes(content)

    def load(self, folder: Path) -> nn.Module:
        """Read the whole pickled model back.

        `weights_only=False` runs whatever the pickle says, and is right here alone: the file is this script's own, and
        scoring needs the model's code, not only its tables. embcompress never does this.
        """
        model: nn.Module = torch.load(folder / self.checkpoint, weights_only=False)
        return model

    def score(self, model: nn.Module) -> Score:
        """Return the filtered MRR over heads and tails of the test triples."""
        dataset = Kinships()
        known = [dataset.training.mapped_triples, dataset.validation.mapped_triples]
        evaluator = RankBasedEvaluator(filtered=True)
        metrics = evaluator.evaluate(
            model,
            dataset.testing.mapped_triples,
            additional_filter_triples=known,
            batch_size=256,
            use_tqdm=False,
        )
        return Score(
            mrr=metrics.get_metric("both.realistic.inverse_harmonic_mean_rank"),
            random_mrr=random_filtered_mrr(dataset.testing.mapped_triples, known=known, entities=dataset.num_entities),
        )


def random_filtered_mrr(
    test: Tensor,  # (triples, 3) of head, relation, tail
    *,
    known: Sequence[Tensor],  # each (triples, 3), filtered from the candidates as the test triples themselves are
    entities: int,
) -> float:
    """Return the expected filtered MRR of a random ranking: the mean of H_c / c, c the candidates left per question."""
    every = set(map(tuple, torch.cat([test, *known]).tolist()))
    tails = Counter((head, relation) for head, relation, _ in every)
    heads = Counter((relation, tail) for _, relation, tail in every)
    expected = [
        reciprocal_rank_of_random(entities - answers + 1)  # the other right answers are out, the asked one stays
        for head, relation, tail in test.tolist()
        for answers in (tails[head, relation], heads[relation, tail])
    ]
    return sum(expected) / len(expected)


def save_labels(label_to_id: Mapping[str, int], path: Path) -> None:
    """Write `id<TAB>label` lines with a header, as PyKEEN does, but without the time that gzip keeps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        "id\tlabel",
        *(f"{index}\t{label}" for label, index in sorted(label_to_id.items(), key=lambda item: item[1])),
    ]
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
        packed.write("".join(line + "\n" for line in lines).encode())


# --------------------------------------------------------------------------------------------------------- words


class NeighbourModel(nn.Module):
    """Predict a word from the mean of its neighbours' vectors; the head is tied to the table.

    score(w | neighbours) = <e_w, A m + a> + b_w, where m is the mean of the neighbours' e.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        super().__init__()
        self.vocabulary = tuple(vocabulary)  # row i is the word vocabulary[i]; not in the state dict
        self.embedding = nn.Embedding(len(vocabulary), DIM)
        self.mix = nn.Linear(DIM, DIM)
        self.head = nn.Linear(DIM, len(vocabulary))
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.zeros_(self.head.bias)
        self.head.weight = self.embedding.weight

    def forward(
        self,
        neighbours: Tensor,  # (batch, 2 * NEIGHBOURS) of row numbers, -1 where the text ends
    ) -> Tensor:  # (batch, words)
        """Score every word for each place in the text."""
        is_word = (neighbours >= 0).unsqueeze(-1)  # (batch, 2 * NEIGHBOURS, 1)
        vectors = self.embedding(neighbours.clamp(min=0)) * is_word  # (batch, 2 * NEIGHBOURS, DIM)
        scores: Tensor = self.head(self.mix(vectors.sum(dim=1) / is_word.sum(dim=1)))
        return scores


@dataclass(frozen=True)
class Places:
    """Words of a text with their neighbours, as row numbers of the table."""

    neighbours: Tensor  # (places, 2 * NEIGHBOURS), -1 where the text ends
    words: Tensor  # (places,)


@dataclass(frozen=True)
class Text:
    """Docstrings as lists of lower-case words; none occurs twice."""

    training: list[list[str]]
    held_out: list[list[str]]


@dataclass(frozen=True)
class WordSample:
    """Word vectors from the docstrings of Python's standard library."""

    name: str = "words"
    checkpoint: str = "model.pt"

    def train(self) -> NeighbourModel:
        """Train with the full softmax over the vocabulary, AdamW with weight decay."""
        torch.manual_seed(SEED)
        text = read_docstrings()
        counts = Counter(word for words in text.training for word in words)
        by_frequency = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        model = NeighbourModel([word for word, count in by_frequency if count >= MIN_COUNT])
        places = find_places(text.training, model.vocabulary)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
        for _ in range(WORD_EPOCHS):
            for batch in torch.randperm(len(places.words)).split(WORD_BATCH):
                loss = nn.functional.cross_entropy(model(places.neighbours[batch]), places.words[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return model

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the state dict, and the words one a line in the order of the rows."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), folder / self.checkpoint)
        require_portable(folder / self.checkpoint)
        (folder / "vocabulary.txt").write_text("".join(f"{word}\n" for word in model.vocabulary), encoding="utf-8")

    def load(self, folder: Path) -> NeighbourModel:
        """Read the table and its words back."""
        model = NeighbourModel((folder / "vocabulary.txt").read_text(encoding="utf-8").split())
        model.load_state_dict(torch.load(folder / self.checkpoint, weights_only=True))
        return model

    def score(self, model: nn.Module) -> Score:
        """Return the MRR of the true word among the whole vocabulary, at every place of the held-out files."""
        text = read_docstrings()
        asked = find_places(text.held_out, model.vocabulary)
        frequency = torch.bincount(find_places(text.training, model.vocabulary).words, minlength=len(model.vocabulary))
        with torch.no_grad():
            scores = (model(batch) for batch in asked.neighbours.split(WORD_BATCH))
            mrr = mean_reciprocal_rank(scores, asked.words)
        same_for_all = (frequency.expand(len(batch), -1) for batch in asked.words.split(WORD_BATCH))
        return Score(
            mrr=mrr,
            random_mrr=reciprocal_rank_of_random(len(model.vocabulary)),
            frequency_mrr=mean_reciprocal_rank(same_for_all, asked.words),
        )


@cache
def read_docstrings() -> Text:
    """Read every docstring below the standard library's folder; one file in ten is held out, whole.

    A file's side depends on its name alone, so that it is the same under every version of Python.
    """
    root = Path(sysconfig.get_path("stdlib"))
    text = Text(training=[], held_out=[])
    seen = set()
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if SKIPPED_FOLDERS.intersection(relative.parts):
            continue
        is_held_out = zlib.crc32(relative.as_posix().encode()) % HELD_OUT_ONE_IN == 0
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node)
                if docstring and docstring not in seen:
                    seen.add(docstring)
                    words = re.findall(r"[a-z]+(?:'[a-z]+)?", docstring.lower())
                    (text.held_out if is_held_out else text.training).append(words)
    return text


def find_places(docstrings: Iterable[Sequence[str]], vocabulary: Sequence[str]) -> Places:
    """List each word that has a neighbour; words outside the vocabulary are dropped first."""
    rows = {word: row for row, word in enumerate(vocabulary)}
    neighbours, centres = [], []
    for words in docstrings:
        known = [rows[word] for word in words if word in rows]
        for place, row in enumerate(known):
            around = known[max(0, place - NEIGHBOURS) : place] + known[place + 1 : place + 1 + NEIGHBOURS]
            if around:
                neighbours.append(around + [-1] * (2 * NEIGHBOURS - len(around)))
                centres.append(row)
    return Places(neighbours=torch.tensor(neighbours), words=torch.tensor(centres))


def mean_reciprocal_rank(
    scores: Iterable[Tensor],  # each (batch, candidates)
    answers: Tensor,  # (places,), the batches together
) -> float:
    """Return the mean of 1 / rank of the answers; among equals the mean of the best and worst place."""
    ranks = []
    for batch, expected in zip(scores, answers.split(WORD_BATCH), strict=True):
        own = batch.gather(1, expected.unsqueeze(1))  # (batch, 1)
        above, equal = (batch > own).sum(dim=1), (batch == own).sum(dim=1)  # (batch,); equal counts the answer itself
        ranks.append(1 + above + (equal - 1) / 2)
    return float((1 / torch.cat(ranks).double()).mean())


# ------------------------------------------------------------------------------------------------ all the samples


SAMPLES: tuple[GraphSample | WordSample, ...] = (
    GraphSample(
        name="kinships-complex",
        model="ComplEx",
        model_kwargs={
            "embedding_dim": 128,  # complex numbers: the tables have 256 real columns
            # PyKEEN's own default, N(0, 1), does not start to learn here: MRR .059 after 20 epochs, against .745.
            "entity_initializer": "xavier_normal",
            "relation_initializer": "xavier_normal",
            # The nuclear 3-norm of Lacroix et al., ICML 2018. At weight 20 the tables collapse to a few directions.
            "regularizer": "powersum",
            "regularizer_kwargs": {"weight": 4.0, "p": 3.0, "normalize": True},
        },
        optimizer_kwargs={"lr": 0.01},
        epochs=50,
        with_safetensors=True,
    ),
    GraphSample(
        name="kinships-transe",
        model="TransE",
        model_kwargs={"embedding_dim": 128},
        optimizer_kwargs={"lr": 0.01, "weight_decay": 1e-4},
        epochs=40,
    ),
    GraphSample(
        name="kinships-rescal",
        model="RESCAL",
        model_kwargs={
            "embedding_dim": 64,  # each relation is a 64 x 64 matrix, kept as a row of 4096
            "entity_initializer": "xavier_normal",
            "relation_initializer": "xavier_normal",
            "regularizer": NoRegularizer(),  # weight decay instead
        },
        optimizer_kwargs={"lr": 0.01, "weight_decay": 3e-4},
        epochs=40,
    ),
    WordSample(),
)


def require_portable(path: Path) -> None:
    """Stop the script if a pickle written by torch.save holds a path or this machine's name."""
    with zipfile.ZipFile(path) as archive:
        pickles = [archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl")]
    assert pickles
    for opcode, argument, _ in (found for pickle in pickles for found in pickletools.genops(pickle)):
        words = argument.decode("latin-1") if isinstance(argument, bytes | bytearray) else argument
        if isinstance(words, str) and (
            re.search(r"[/\\]", words) or socket.gethostname() in re.split(r"[^\w-]", words)
        ):
            path.unlink()
            raise SystemExit(f"{path.name}: {opcode.name} holds {words!r}, which belongs to this machine; not saved.")


def describe(model: nn.Module) -> Iterator[str]:
    """Give name and shape of each table, tied names together."""
    names: dict[int, list[str]] = {}
    shapes = {}
    for name, values in model.state_dict().items():
        if values.ndim > 1:
            names.setdefault(values.data_ptr(), []).append(short_name(name))
            shapes[values.data_ptr()] = " x ".join(map(str, values.shape))
    for pointer, tied in names.items():
        yield f"{' = '.join(f'`{name}`' for name in tied)} {shapes[pointer]}"


def make_samples(output: Path) -> None:
    """Train, measure and save every sample; print the table of README.md."""
    print("| file | tables | bytes | MRR | by frequency | random |\n|---|---|---:|---:|---:|---:|")
    for sample in SAMPLES:
        model = sample.train()
        score = sample.score(model)
        score.require_trained(sample.name)
        sample.save(model, output / sample.name)
        frequency = "" if score.frequency_mrr is None else f"{score.frequency_mrr:.4f}"
        size = (output / sample.name / sample.checkpoint).stat().st_size
        print(
            f"| `{sample.name}/{sample.checkpoint}` | {', '.join(describe(model))} | {size} "
            f"| {score.mrr:.4f} | {frequency} | {score.random_mrr:.4f} |",
            flush=True,
        )


def print_scores(folder: Path) -> None:
    """Compress each sample with plain bases, put the dense tables back into its model, and score that."""
    import embcompress

    print("| sample | bases | bytes before | bytes after | relative error | left dense | MRR before | MRR after |")
    print("|---|---:|---:|---:|---|---|---:|---:|")
    for sample in SAMPLES:
        model = sample.load(folder / sample.name)
        before = sample.score(model).mrr
        for bases in BASES:
            with tempfile.TemporaryDirectory() as scratch:
                artifact, dense = Path(scratch) / "compressed.safetensors", Path(scratch) / "dense.safetensors"
                report = embcompress.approximate(folder / sample.name / sample.checkpoint, bases=bases, output=artifact)
                embcompress.reconstruct(artifact, output=dense)
                model.load_state_dict(safetensors.torch.load_file(dense))
            errors = ", ".join(f"`{short_name(table.name)}` {table.error.relative:.3f}" for table in report.tables)
            skipped = ", ".join(f"`{short_name(table.name)}`" for table in report.skipped)
            after = sum(table.bytes_after for table in report.tables)
            print(
                f"| {sample.name} | {bases} | {report.totals.bytes_before} | {after} "
                f"| {errors} | {skipped} | {before:.4f} | {sample.score(model).mrr:.4f} |",
                flush=True,
            )


def short_name(name: str) -> str:
    """Drop the ending that every table of PyKEEN has."""
    return name.removesuffix("._embeddings.weight")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the samples (default: this script's)")
    parser.add_argument("--scores", action="store_true", help="train nothing: score what is left after compression")
    options = parser.parse_args()
    torch.set_num_threads(1)  # sums over two threads may round differently
    torch.use_deterministic_algorithms(True)
    logging.disable(logging.WARNING)  # PyKEEN's notes would stand between the rows of the table
    warnings.filterwarnings("ignore", message="'pin_memory' argument is set as true")  # PyKEEN sets it on a CPU too
    (print_scores if options.scores else make_samples)(options.output)


if __name__ == "__main__":
    main()
