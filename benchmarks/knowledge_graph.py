"""Train a knowledge-graph table to measure on: ComplEx on WN18, 40943 entities of 200 reals, minutes long.

    python benchmarks/knowledge_graph.py OUTPUT.safetensors [FOLDER]

Needs PyKEEN (`pip install -e '.[pykeen]'`), which downloads WN18 itself; FOLDER holds its train.txt, valid.txt and
test.txt in OpenKE's form (a line with the count, then `head tail relation` ids) where there is no network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from pykeen.datasets import WN18
from pykeen.evaluation import RankBasedEvaluator
from pykeen.models import ComplEx
from pykeen.training import SLCWATrainingLoop
from pykeen.triples import CoreTriplesFactory
from safetensors.torch import save_file
from torch.optim import Adam

DIM = 100  # complex columns
EPOCHS = 60
BATCH = 1024
SEED = 20240229


def read_folder(folder: Path) -> tuple[CoreTriplesFactory, CoreTriplesFactory]:
    """Read the training and the test triples of OpenKE's form."""
    parts = []
    for name in ("train", "test"):
        lines = (folder / f"{name}.txt").read_text(encoding="utf-8").split("\n")[1:]
        triples = torch.tensor([[int(field) for field in line.split()] for line in lines if line.strip()])
        parts.append(triples[:, [0, 2, 1]])  # head, relation, tail
    entities, relations = (int(max(part[:, column].max() for part in parts)) + 1 for column in (0, 1))
    first, second = (CoreTriplesFactory(part, num_entities=entities, num_relations=relations) for part in parts)
    return first, second


def main() -> None:
    """Train, tell the test score, and save the model's state dict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("folder", type=Path, nargs="?")
    args = parser.parse_args()
    if args.folder:
        training, testing = read_folder(args.folder)
    else:
        dataset = WN18()
        training, testing = dataset.training, dataset.testing
    model = ComplEx(triples_factory=training, embedding_dim=DIM, random_seed=SEED)
    loop = SLCWATrainingLoop(
        model=model,
        triples_factory=training,
        optimizer=Adam(model.parameters(), lr=0.005),
        negative_sampler_kwargs={"num_negs_per_pos": 8},
    )
    loop.train(training, num_epochs=EPOCHS, batch_size=BATCH, use_tqdm_batch=False)
    metrics = RankBasedEvaluator(filtered=True).evaluate(
        model, testing.mapped_triples, additional_filter_triples=[training.mapped_triples], batch_size=128
    )
    print(f"MRR {metrics.get_metric('mrr'):.3f}, hits@10 {metrics.get_metric('hits@10'):.3f}")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, args.output)


if __name__ == "__main__":
    main()
