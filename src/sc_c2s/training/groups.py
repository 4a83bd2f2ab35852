"""Groups of cells: who belongs to them, what the data say about them, and how they are shown to a model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from sc_c2s.metrics.facts import LEAST_CHANGE, GroupFacts, facts_of_groups
from sc_c2s.prompts import cells_text, evidence_text
from sc_c2s.sentences.groups import draw_cells, members_by_name
from sc_c2s.sentences.recipe import Recipe

N_MARKERS = 8
"""Genes that are shown as evidence."""


@dataclass(frozen=True)
class Groups:
    """Groups of cells, read.

    Attributes
    ----------
    x, log
        Expression as it was given, and in log1p counts per 10,000 (cells × genes).
    genes, cells
        Names of columns and rows.
    names
        Groups that are asked about.
    members
        Numbers of the cells of each, by the names of the cells.
    facts
        What the data say about each of them.
    markers
        Genes that set each of them apart, the clearest first.
    labels, context
        Cell type of each cell, and where it is from, column by column; NaN where that is not known.
    strata, samples
        Subcluster and sample of each cell, where asked for.
    organism
        Whose cells they are, if known.
    n_mixtures
        How many of the names, the last ones, are of mixtures, see :func:`~sc_c2s.training.mixtures.with_mixtures`.
    """

    x: sparse.csr_matrix
    log: sparse.csr_matrix
    genes: np.ndarray
    cells: np.ndarray
    names: list[str]
    members: Mapping[str, np.ndarray]
    facts: Mapping[str, GroupFacts]
    markers: Mapping[str, list[str]]
    labels: np.ndarray | None
    context: Mapping[str, np.ndarray]
    strata: np.ndarray | None
    samples: np.ndarray | None
    organism: str | None
    n_mixtures: int = 0

    @property
    def given(self) -> list[str]:
        """Names of the groups that are no mixtures."""
        return self.names[: len(self.names) - self.n_mixtures]

    def draw(self, name: str, n_cells: int, rng: np.random.Generator) -> np.ndarray:
        """Draw the cells of a group that are shown."""
        members = self.members[name]
        strata, samples = (None if one is None else one[members] for one in (self.strata, self.samples))
        return draw_cells(members, n_cells, rng=rng, strata=strata, samples=samples)

    def text(self, cells: np.ndarray, *, n_genes: int, family: str, vocabulary: np.ndarray) -> str:
        """Write cells for a prompt."""
        recipe = Recipe(n_genes=n_genes, organism=self.organism)
        written = recipe.write(self.x[cells], self.genes, self.cells[cells], vocabulary=vocabulary)
        shown = [sentence for sentence in written if sentence]
        return cells_text(shown, family=family, organism=self.organism)

    def evidence(self, name: str) -> str:
        """Write what the data say about a group."""
        return evidence_text(self.composition(name), self.markers[name][:N_MARKERS], self.facts[name].context)

    def composition(self, name: str) -> dict[str, float] | None:
        """Share of each cell type in a group, if cells are labelled."""
        found = self.facts[name].composition
        return None if found is None else {str(label): float(share) for label, share in found.items()}

    @classmethod
    def gather(
        cls,
        x: sparse.csr_matrix,
        log: sparse.csr_matrix,
        group: np.ndarray,
        names: list[str],
        *,
        genes: np.ndarray,
        cells: np.ndarray,
        labels: np.ndarray | None = None,
        context: Mapping[str, np.ndarray] | None = None,
        strata: np.ndarray | None = None,
        samples: np.ndarray | None = None,
        organism: str | None = None,
    ) -> Groups:
        """Collect what the data say about some groups.

        Parameters
        ----------
        x, log
            Expression as it was given, and in log1p counts per 10,000 (cells × genes).
        group
            Group of each cell; NaN where there is none.
        names
            Groups to ask about. All other cells are the rest.
        genes, cells
            Names of columns and rows.
        labels
            Cell type of each cell, NaN where there is none.
        context
            Columns that say where cells are from: a value for each cell.
        strata, samples, organism
            See the attributes.
        """
        facts = facts_of_groups(log, genes, group, labels=labels, context=context)
        return cls(
            x=x,
            log=log,
            genes=genes,
            cells=cells,
            names=names,
            members=members_by_name(cells, group, names),
            facts={name: facts[name] for name in names},
            markers=_markers(log, genes, pd.Series(group, dtype=object), names, facts),
            labels=labels,
            context=context or {},
            strata=strata,
            samples=samples,
            organism=organism,
        )

    def again(self, group: np.ndarray, names: list[str]) -> Groups:
        """Put the same cells into other groups."""
        about = ("genes", "cells", "labels", "context", "strata", "samples", "organism")
        return self.gather(self.x, self.log, group, names, **{name: getattr(self, name) for name in about})


def _markers(
    log: sparse.csr_matrix, genes: np.ndarray, group: pd.Series, names: list[str], facts: Mapping[str, GroupFacts]
) -> dict[str, list[str]]:
    """Genes that are higher in a group than in all other cells, by the t-test of ``scanpy.tl.rank_genes_groups``.

    The test compares means of logarithms; of its genes those are kept whose mean count is higher as well, by which claims
    are judged.
    """
    import scanpy as sc
    from anndata import AnnData

    sizes = group.value_counts()
    rest = int(group.isna().sum())
    known = [name for name in names if 1 < sizes[name] < len(group) - 1]
    if not known or (len(sizes) < 2 and not rest):
        return {name: [] for name in names}
    values = pd.Categorical(group.where(group.notna(), ""))
    obs = pd.DataFrame({"group": values}, index=np.arange(len(group)).astype(str))
    table = AnnData(log, obs=obs, var=pd.DataFrame(index=pd.Index(genes.astype(str))))
    quiet, sc.settings.verbosity = sc.settings.verbosity, 0
    try:
        with warnings.catch_warnings():
            # Its table grows a column at a time, of which pandas says that it is slow.
            warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
            sc.tl.rank_genes_groups(table, "group", groups=known, method="t-test", n_genes=10 * N_MARKERS)
    finally:
        sc.settings.verbosity = quiet
    found = table.uns["rank_genes_groups"]
    out: dict[str, Any] = {name: [] for name in names}
    for name in known:
        change = facts[name].genes["log_fold_change"]
        higher = found["names"][name][found["scores"][name] > 0]
        out[name] = [str(gene) for gene in higher if change[gene] >= LEAST_CHANGE]
    return out
