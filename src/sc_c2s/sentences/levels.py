"""What the first, second, third … gene of real cells is expressed at, whichever genes they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from scipy import sparse

from .inverse import ranked_values

MOST_CELLS, MOST = 100, 20_000
"""Cells of each group that are kept, and of all groups together."""


@dataclass(frozen=True)
class Levels:
    """Values of real cells in falling order, without their genes, to be given to cells that are only a list of genes.

    A cell that borrows them has the number of genes, the depth and the plateaus of single counts of a real one, where the mean
    over cells of one length (:class:`~sc_c2s.sentences.inverse.RankFit`) has none of what differs between them. Values repeat,
    so they are kept as runs.

    Attributes
    ----------
    values, counts
        Value and length of each run.
    n_runs
        Number of runs of each cell.
    groups
        Group of each cell, from 0, in order.
    """

    values: np.ndarray
    counts: np.ndarray
    n_runs: np.ndarray
    groups: np.ndarray

    @classmethod
    def of(
        cls, x: sparse.csr_matrix, groups: np.ndarray, rng: np.random.Generator, *, n_genes: int | None = None
    ) -> Levels:
        """Take the values of some cells of each group, drawn at random.

        Parameters
        ----------
        x
            Cells × genes in log1p counts per 10,000, zeros not stored.
        groups
            Group of each cell, from 0.
        rng
            Draws the cells.
        n_genes
            Keep the first so many values only.
        """
        n_groups = int(groups.max()) + 1
        most = max(min(MOST_CELLS, MOST // n_groups), 1)
        filled = x.getnnz(axis=1) > 0
        cells = np.concatenate(
            [rng.permutation(np.flatnonzero(filled & (groups == g)))[:most] for g in range(n_groups)]
        )
        x = x[cells]
        rank, _, values = ranked_values(x)
        cell = np.repeat(np.arange(len(cells)), np.diff(x.indptr))
        if n_genes is not None:
            rank, values, cell = (one[rank < n_genes] for one in (rank, values, cell))
        new = np.append(True, (values[1:] != values[:-1]) | (rank[1:] == 0))
        first = np.flatnonzero(new)
        return cls(
            values=values[first].astype(np.float32),
            counts=np.diff(np.append(first, len(values))).astype(np.int32),
            n_runs=np.bincount(cell[first], minlength=len(cells)).astype(np.int32),
            groups=groups[cells].astype(np.int32),
        )

    @cached_property
    def n_genes(self) -> np.ndarray:
        """Number of genes of each cell."""
        return np.add.reduceat(self.counts, np.cumsum(self.n_runs) - self.n_runs)

    def draw(self, groups: np.ndarray, rng: np.random.Generator, *, balanced: bool = False) -> np.ndarray:
        """Draw a cell of each of these groups.

        Parameters
        ----------
        groups
            The groups.
        rng
            Draws the cells.
        balanced
            Draw each cell of a group as often as the others, give or take one.
        """
        first = np.searchsorted(self.groups, groups)
        size = np.searchsorted(self.groups, groups, side="right") - first
        if not balanced:
            return first + (rng.random(len(groups)) * size).astype(int)
        place = np.empty(len(groups), dtype=int)
        for group in np.unique(groups):
            here = np.flatnonzero(groups == group)
            place[here] = np.resize(rng.permutation(size[here[0]]), len(here))
        return first + place

    def take(self, cells: np.ndarray, n: np.ndarray) -> np.ndarray:
        """Give the first ``n`` values of each of these cells, one cell after the other."""
        whole = np.repeat(self.values, self.counts)
        start = (np.cumsum(self.n_genes) - self.n_genes)[cells]
        rank = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        return whole[np.repeat(start, n) + rank]

    def to_dict(self) -> dict[str, np.ndarray]:
        """Write as plain arrays."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_dict(cls, arrays: Mapping[str, np.ndarray]) -> Levels:
        """Read what :meth:`to_dict` wrote."""
        return cls(**{one.name: np.asarray(arrays[one.name]) for one in fields(cls)})
