"""Train a model on four countries, then widen it to fourteen without losing what it knows of the four.

    pip install -e '.[pykeen]'
    python examples/backfill_nations.py                the rows of the four are frozen
    python examples/backfill_nations.py --trainable    they go on learning with the others

Prints the filtered mean reciprocal rank (MRR; 1 is best) over the test triples of all countries, beside that of a model
that starts from nothing. Takes about ten seconds.
"""

from __future__ import annotations

import argparse
import gc
import logging
import warnings

import torch
from pykeen.datasets import Nations
from pykeen.evaluation import RankBasedEvaluator
from pykeen.models import ERModel
from pykeen.training import LCWATrainingLoop
from pykeen.triples import TriplesFactory
from torch import nn

from embcompress.nn import BackfillRepresentation, Embedding

KNOWN = ("china", "brazil", "cuba", "burma")  # row 0 of the small model is China, and so on
DIM = 32
SEED = 0


def main() -> None:
    """Tell the story in four steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainable", action="store_true", help="let the rows of the four countries learn on")
    parser.add_argument("--epochs", type=int, default=15, help="of each of the three trainings (default: 15)")
    options = parser.parse_args()
    nations = Nations()
    everyone = nations.training

    # 1. A model of four countries, which numbers them 0..3. Relations keep the numbers that they have in the whole.
    among_known = everyone.new_with_restriction(entities=KNOWN).mapped_triples
    four = TriplesFactory.from_labeled_triples(
        everyone.label_triples(among_known),
        entity_to_id={label: row for row, label in enumerate(KNOWN)},
        relation_to_id=everyone.relation_to_id,
    )
    small = build(four, new_rows(four.num_entities), new_rows(everyone.num_relations))
    train(small, four, epochs=options.epochs)
    known = small.entity_representations[0]().detach().clone()  # (4, DIM)
    relations = small.relation_representations[0]().detach().clone()  # (relations, DIM)
    print(f"trained: {four.num_triples} triples among {', '.join(KNOWN)}")

    # 2. The same rows under the numbers that their labels have among all countries; the other ten are drawn.
    ids = [everyone.entity_to_id[label] for label in KNOWN]
    base = Embedding.from_pretrained(known, trainable=options.trainable)
    countries = BackfillRepresentation(everyone.num_entities, ids, base)
    wide = build(everyone, countries, Embedding.from_pretrained(relations, trainable=True))
    print(f"widened: to {countries.max_id} countries, of which rows {ids} were known")
    print(f"MRR widened, before training: {mrr(wide, nations):.4f}")

    # 3. Training goes on, now with the triples of all.
    train(wide, everyone, epochs=options.epochs)
    print(f"MRR widened, after training: {mrr(wide, nations):.4f}")
    is_same = torch.equal(countries(torch.tensor(ids)), known)
    print(f"known rows: {'identical to the bit' if is_same else 'changed'}")

    # 4. Beside it, a model that learns all rows from nothing in as many epochs.
    scratch = build(everyone, new_rows(everyone.num_entities), new_rows(everyone.num_relations))
    train(scratch, everyone, epochs=options.epochs)
    print(f"MRR from scratch, after training: {mrr(scratch, nations):.4f}")


def new_rows(count: int) -> Embedding:
    """Make rows to be trained."""
    return Embedding(count, shape=DIM, initializer="xavier_normal")


def build(triples: TriplesFactory, entities: nn.Module, relations: nn.Module) -> ERModel:
    """Make a DistMult model. Its constructor resets every module, which given rows outlast and drawn ones do not."""
    return ERModel(
        triples_factory=triples,
        interaction="distmult",
        entity_representations=entities,
        relation_representations=relations,
        loss="crossentropy",
        random_seed=SEED,
    )


def train(model: ERModel, triples: TriplesFactory, *, epochs: int) -> None:
    """Score every tail for each (head, relation), by PyKEEN's own loop."""
    loop = LCWATrainingLoop(model=model, triples_factory=triples, optimizer="adam", optimizer_kwargs={"lr": 0.05})
    loop.train(triples, num_epochs=epochs, batch_size=128, use_tqdm=False)


def mrr(model: ERModel, nations: Nations) -> float:
    """Rank the heads and tails of the test triples among all countries, other right answers left out."""
    metrics = RankBasedEvaluator().evaluate(
        model,
        nations.testing.mapped_triples,
        additional_filter_triples=[nations.training.mapped_triples, nations.validation.mapped_triples],
        batch_size=256,
        use_tqdm=False,
    )
    return float(metrics.get_metric("both.realistic.inverse_harmonic_mean_rank"))


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # PyKEEN's notes on what it inferred
    warnings.filterwarnings("ignore", message="'pin_memory' argument is set as true")  # PyKEEN sets it on a CPU too
    gc.freeze()  # PyKEEN collects garbage after every epoch, which else takes longer than the epoch
    main()
