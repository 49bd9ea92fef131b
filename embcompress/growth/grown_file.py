"""The file of grown tables that is being made, and its size; known without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from embcompress.artifact.marks import is_mark, mark_entries
from embcompress.artifact.schema import (
    CompressedTable,
    artifact_metadata,
    staged_bytes,
    widest_metadata,
)
from embcompress.artifact.writer import copied_entry
from embcompress.compression.artifact_file import original_of
from embcompress.growth.findings import ENERGY_EXACT
from embcompress.growth.model_folders import ModelGrowth
from embcompress.growth.own_labels import grown_labels, label_names
from embcompress.growth.plan import Base, GrowthPlan, names_of
from embcompress.results import GrownTable


class GrownFile:
    """A checkpoint or artifact to be: tables with rows for new ids, and everything else as the first base has it.

    Args:
        model: where it goes, and what grows beside the tables.
        base: the first one.
        plans: of its tables that grow.
        new_labels: of the new ids; empty: none were given.

    Attributes:
        plans: as given.
        biases: of heads, by what is written.
        labels: the content of the labels of grown tables, where the base holds labels.
        copied: everything that belongs to no grown table, under its own name.
        writer: of all of these.
        staged_bytes: that lie beside the output while it is written.
        target: where it goes, links followed.
    """

    def __init__(
        self, model: ModelGrowth, base: Base, plans: Sequence[GrowthPlan], *, new_labels: Sequence[str]
    ) -> None:
        self.plans, self.target = tuple(plans), model.output.resolved
        self.biases = {bias.entry: bias for bias in model.biases}
        self.labels = grown_labels(plans, plans[0].placement, labels=new_labels)
        bias_names = {entry.name for entry in self.biases}
        self.copied = {
            copied_entry(stored): stored
            for stored in base.checkpoint.stored_beside(names_of(plans) | label_names(plans) | bias_names)
            if base.artifact is None or stored.name in base.artifact.tensors  # else it is a mark, written anew
        }
        self._compressed = _compressed_tables(base, plans)
        self._original = base.artifact.original if base.artifact else original_of(base.checkpoint)
        entries = [*(entry for plan in plans for entry in plan.entries), *self.labels, *self.biases, *self.copied]
        self._dense_metadata = {"format": "pt", **self._original.metadata}
        metadata = self._dense_metadata
        if self._compressed:
            if any(map(is_mark, base.checkpoint.stored)):
                entries += mark_entries((name for table in self._compressed for name in table.dense_names), entries)
            metadata = widest_metadata(self._compressed, entries=entries, original=self._original)
        self.writer = model.output.writer(entries, metadata)
        compressed = (plan.first.compressed for plan in plans)
        self.staged_bytes = staged_bytes((table for table in compressed if table is not None), entries)

    def metadata(self, grown: Sequence[GrownTable]) -> dict[str, str]:
        """Make the final metadata once all is written, from the reports of the grown tables."""
        if not self._compressed:
            return self._dense_metadata
        tables = _with_errors(self._compressed, grown)
        return artifact_metadata(tables, checksums=self.writer.checksums, original=self._original)


def _compressed_tables(base: Base, plans: Sequence[GrowthPlan]) -> list[CompressedTable]:
    """List the tables of the new artifact: those that grew with their new length."""
    if base.artifact is None:
        return []
    grown = {plan.first.table.name: plan for plan in plans}
    tables = []
    for table in base.artifact.tables:
        plan = grown.get(table.name)
        if plan is None or plan.rank is None:
            tables.append(table)
            continue
        errors = [part.compressed.error for part in plan.parts if part.compressed]
        known = [error for error in errors if error is not None]
        worst = max(known) if len(known) == len(errors) else None
        tables.append(replace(table, rows=plan.placement.max_id, rank=plan.rank, error=worst, shards=()))
    return tables


def _with_errors(tables: Sequence[CompressedTable], grown: Sequence[GrownTable]) -> list[CompressedTable]:
    """Drop the error of a table where it is not known any more: rows went, or came that the bases do not hold.

    Where rows that the bases hold were only added, the largest error of the bases is still an upper bound.
    """
    changed = {
        one.name
        for one in grown
        if one.rows_dropped or (one.kept_energy is not None and one.kept_energy < ENERGY_EXACT)
    }
    return [replace(table, error=None) if table.name in changed else table for table in tables]
