"""Link prediction before and after compression, scored and ranked by PyKEEN."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from embcompress.artifact.dense_tensors import read_dense, read_whole
from embcompress.artifact.reader import Artifact
from embcompress.checkpoints import Checkpoint
from embcompress.checkpoints.tensors import Named
from embcompress.exceptions import TableError
from embcompress.link_prediction.graph_tables import (
    GraphTable,
    columns_of,
    count_rows,
    find_tables,
    is_default_inverter,
    shape_tables,
)
from embcompress.link_prediction.interactions import (
    Interaction,
    check_parameters,
    choose_interaction,
    interaction_tensors,
)
from embcompress.link_prediction.triples import IdMap, read_id_map, read_triples
from embcompress.nn.pykeen import load_pykeen, quiet
from embcompress.results import LinkPrediction, Ranking
from embcompress.tables.progress import Progress

MAPS = {"entity": "entity_to_id.tsv.gz", "relation": "relation_to_id.tsv.gz"}
MAPS_FOLDER = "training_triples"  # beside the model, where PyKEEN puts its maps
# Of what grows with the batch: entries of candidates, scores, and the masks of known triples. On a CPU, 120
# triples among 14541 entities of 200 columns took 4.1 s in batches of 32 MiB, 6.7 in batches of 256 (DistMult).
SCORING_BYTES = 32 * 2**20
GPU_SCORING_BYTES = 256 * 2**20
PYKEEN_BYTES = 128 * 2**20  # of what it imports beside torch, measured on Linux
BATCH_MAX = 1024  # triples
HITS = (1, 3, 10)
SCORING_FAILS = (
    TypeError,
    ValueError,
    RuntimeError,
)  # of torch, on arguments that a checkpoint made up; no memory left


@dataclass(frozen=True)
class LinkPredictionPlan:
    """A ranking that has been checked: the triples, the tables and the function that scores them.

    Attributes:
        interaction: what scores a triple.
        entities: the tables of entities, in PyKEEN's order.
        relations: those of relations.
        has_inverses: whether every relation has a second row for its inverse, by which heads are predicted.
        has_sigmoid: whether scores go through a sigmoid.
        parameters: names of the interaction's tensors.
        triples: ids of head, relation and tail, one triple after the other.
        known: those to leave out of the ranks.
    """

    interaction: Interaction
    entities: tuple[GraphTable, ...]
    relations: tuple[GraphTable, ...]
    has_inverses: bool
    has_sigmoid: bool
    parameters: tuple[str, ...]
    triples: array[int]
    known: array[int]


def measure_link_prediction(
    plan: LinkPredictionPlan,
    original: Checkpoint,
    artifact: Artifact,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    scoring_bytes: int | None = None,
) -> LinkPrediction:
    """Rank triples among all others with the tables of the original, then with those of its artifact.

    Both sides of each triple are predicted; among the candidates are all entities but those of other known or ranked
    triples (filtered). By PyKEEN's RankBasedEvaluator, so a triple that stands in the file twice counts twice, and
    known ones count once. Scores are made in the dtype of the tables, in float32 for shorter ones.

    Holds the dense tables once, and at most `scoring_bytes` for scoring, however many triples there are.

    Args:
        plan: of `check_link_prediction` for this original.
        original: a model of PyKEEN: pickled whole, or its state dict.
        artifact: what was made of it.
        device: "cpu", "cuda" or "cuda:N".
        progress: called with what is being done, triples ranked and triples in all.
        scoring_bytes: of memory for scores; default: SCORING_BYTES, on a GPU GPU_SCORING_BYTES.

    Raises:
        OutputError: PyKEEN is not installed.
        TableError: PyKEEN cannot score these triples.
        ArtifactError: the artifact lacks a tensor of the original, or has another shape or checksum of it.
    """
    stored = {tensor.name: tensor for tensor in original.tensors}
    room = scoring_bytes or (SCORING_BYTES if device == "cpu" else GPU_SCORING_BYTES)
    before = _rank(
        plan,
        lambda name: read_whole(original, stored[name]),
        device=device,
        room=room,
        progress=progress,
        doing="before",
    )
    after = _rank(
        plan,
        lambda name: read_dense(artifact, stored[name], device=device),
        device=device,
        room=room,
        progress=progress,
        doing="after",
    )
    ranked = _distinct(plan.triples)
    return LinkPrediction(
        interaction=plan.interaction.name,
        triples=len(plan.triples) // 3,
        known_triples=len(_distinct(plan.known) - ranked),
        before=before,
        after=after,
    )


def check_link_prediction(
    original: Checkpoint,
    *,
    triples: Path,
    known: Sequence[Path] = (),
    interaction: str | None = None,
) -> LinkPredictionPlan:
    """Check all that link prediction needs, and read the triples, but no table.

    Args:
        original: a model of PyKEEN: pickled whole, or its state dict.
        triples: the file of triples to rank: head<TAB>relation<TAB>tail.
        known: files of others that are true.
        interaction: NAME or NAME:key=number,...; needed where the original is a state dict.

    Raises:
        OutputError: PyKEEN is not installed.
        UsageError: an interaction that does not exist, is not the original's, or lacks an argument.
        TableError: no tables of entities and relations, or ones that this interaction does not take.
        CheckpointError, IdsError: triples or labels that cannot be read, or that are not those of the tables.
    """
    tables_of_side = {side: find_tables(original, side) for side in MAPS}
    widths = {side: [columns_of(stored) for stored in tables] for side, tables in tables_of_side.items()}
    rows = {side: count_rows(original, side, tables) for side, tables in tables_of_side.items()}
    chosen = choose_interaction(original, interaction, widths=widths)
    module = check_parameters(chosen, original)
    entities, relations = shape_tables(original, chosen, module, tables_of_side=tables_of_side)
    record = original.listing.graph_model.get("")
    has_inverses = bool(record and record.values.get("use_inverse_triples"))
    inverter = record.names.get("relation_inverter") if record else None
    if has_inverses and (rows["relation"] % 2 or not is_default_inverter(inverter)):
        raise TableError(f"{original.path} keeps its inverse relations in a way that is not read.")
    counts = {"entity": rows["entity"], "relation": rows["relation"] // (2 if has_inverses else 1)}
    id_maps = {side: _read_map(original, side, rows=counts[side]) for side in MAPS}
    arrays = [
        read_triples(path, entities=id_maps["entity"], relations=id_maps["relation"]) for path in (triples, *known)
    ]
    others = array("q")
    for one in arrays[1:]:
        others.extend(one)
    return LinkPredictionPlan(
        interaction=chosen,
        entities=entities,
        relations=relations,
        has_inverses=has_inverses,
        has_sigmoid=bool(record and record.values.get("predict_with_sigmoid")),
        parameters=tuple(tensor.name for tensor in interaction_tensors(original)),
        triples=arrays[0],
        known=others,
    )


def estimate_ranking_memory(plan: LinkPredictionPlan) -> int:
    """Estimate the most bytes that ranking holds: PyKEEN, the dense tables and what they are read from, and scores."""
    dense = sum(table.stored.nbytes for table in (*plan.entities, *plan.relations))
    return PYKEEN_BYTES + 2 * dense + SCORING_BYTES + 8 * (len(plan.triples) + len(plan.known))


def _read_map(original: Checkpoint, side: str, *, rows: int) -> IdMap:
    """Read id<TAB>label from where PyKEEN puts it beside the original; without such a file, labels are ids."""
    path = original.path.parent / MAPS_FOLDER / MAPS[side]
    return read_id_map(side, rows=rows, path=path if path.exists() else None)


def _distinct(ids: array[int]) -> set[tuple[int, int, int]]:
    return set(zip(ids[::3], ids[1::3], ids[2::3], strict=True))


def _rank(
    plan: LinkPredictionPlan,
    read: Callable[[str], Tensor],
    *,
    device: str,
    room: int,
    progress: Progress | None,
    doing: str,
) -> Ranking:
    """Rank the triples with the tensors that `read` gives by name."""
    evaluation = load_pykeen("pykeen.evaluation")
    triples, known = (torch.tensor(ids, dtype=torch.int64).view(-1, 3) for ids in (plan.triples, plan.known))
    with quiet():
        model = _build(plan, read)
        evaluator = evaluation.RankBasedEvaluator(
            filtered=True,
            metrics=["inverse_harmonic_mean_rank", *["hits_at_k"] * len(HITS)],
            metrics_kwargs=[None, *({"k": count} for count in HITS)],
            add_defaults=False,
        )
        if progress is not None:
            _follow(evaluator, progress, doing=f"link prediction {doing}", total=len(triples))
        batch, slice_size = _batch_size(plan, model, filters=len(triples) + len(known), room=room)
        try:
            results = evaluator.evaluate(
                model,
                triples,
                batch_size=batch,
                slice_size=slice_size,
                device=torch.device(device),
                use_tqdm=False,
                additional_filter_triples=[known],
            )
        except SCORING_FAILS as err:
            raise TableError(f"PyKEEN cannot score triples by {plan.interaction.name}: {err}.") from err
    names = ("inverse_harmonic_mean_rank", *(f"hits_at_{count}" for count in HITS))
    mrr, *hits = (float(results.get_metric(f"both.realistic.{name}")) for name in names)
    return Ranking(mrr, *hits)


def _build(plan: LinkPredictionPlan, read: Callable[[str], Tensor]) -> Any:
    """Build PyKEEN's model of the interaction and the tables, on the CPU."""
    models, triples = load_pykeen("pykeen.models"), load_pykeen("pykeen.triples")
    representations, utils = load_pykeen("pykeen.nn.representation"), load_pykeen("pykeen.utils")

    def represent(table: GraphTable, dtype: torch.dtype) -> Any:
        with torch.device("meta"):  # the values are put in below; drawing others would take their memory once more
            return representations.Embedding(
                max_id=table.stored.shape[0],
                shape=table.shape,
                dtype=dtype.to_complex() if table.is_complex else dtype,
                initializer=torch.nn.init.zeros_,
                normalizer=_normalizer(table.normalizer),
                trainable=False,
            )

    with torch.random.fork_rng(devices=[]):  # parameters are drawn before they are loaded
        interaction = plan.interaction.make()
        sides, modules = [], []
        for tables in (plan.entities, plan.relations):
            made = []
            for table in tables:
                values = read(table.stored.name)
                values = (torch.view_as_real(values) if values.is_complex() else values).flatten(1)
                values = values.to(torch.promote_types(values.dtype, torch.float32))
                made.append(represent(table, values.dtype))
                modules.append((made[-1], values))
            sides.append(made)
        model = models.ERModel(
            triples_factory=triples.KGInfo(
                num_entities=plan.entities[0].stored.shape[0],
                num_relations=plan.relations[0].stored.shape[0] // (2 if plan.has_inverses else 1),
                create_inverse_triples=plan.has_inverses,
            ),
            interaction=interaction,
            entity_representations=sides[0],
            relation_representations=sides[1],
            predict_with_sigmoid=plan.has_sigmoid,
            random_seed=utils.NoRandomSeedNecessary,
        )
    for module, values in modules:
        module._embeddings.weight = torch.nn.Parameter(values, requires_grad=False)
    model.interaction.to(modules[0][1].dtype)
    prefix = "interaction."
    model.interaction.load_state_dict({name.removeprefix(prefix): read(name) for name in plan.parameters}, strict=True)
    return model


def _normalizer(function_record: Named | None) -> Callable[..., Any] | None:
    if function_record is None:
        return None
    module, _, name = function_record.name.rpartition(".")
    if module == "torch.nn.functional":
        function: Callable[..., Any] = functional.normalize
    else:
        function = getattr(load_pykeen(module), name)
    return partial(function, **function_record.keywords) if function_record.keywords else function


def _follow(evaluator: Any, progress: Progress, *, doing: str, total: int) -> None:
    """Tell `progress` of each batch whose tails, the second side, are ranked."""
    rank, done = evaluator.process_scores_, 0

    def process(hrt_batch: Tensor, target: str, **scores: Any) -> None:
        nonlocal done
        rank(hrt_batch=hrt_batch, target=target, **scores)
        if target == "tail":
            done += len(hrt_batch)
            progress(doing, done, total, 0)

    evaluator.process_scores_ = process


def _batch_size(plan: LinkPredictionPlan, model: Any, *, filters: int, room: int) -> tuple[int, int]:
    """Choose how many triples are scored at once, and against how many entities of one triple."""
    entities = plan.entities[0].stored.shape[0]
    entries = max(columns_of(table.stored) for table in plan.entities)  # interactions hold those of all candidates
    item_bytes = model.entity_representations[0]._embeddings.weight.element_size()
    each = entities * entries * item_bytes
    batch = room // (each + 3 * filters)  # three masks of a byte a triple
    slice_size = entities if batch else max(1, room // (entries * item_bytes))
    return min(max(batch, 1), BATCH_MAX), min(slice_size, entities)
