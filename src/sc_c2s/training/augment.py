"""The same cells, sequenced anew: what varies between two cells of one kind should not matter to the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Augmentation:
    """How far a training cell may differ from the one that was measured.

    Attributes
    ----------
    depth
        Lowest share of the counts that is kept (binomial thinning, share drawn uniformly up to 1). 1, the default,
        keeps all.
    dropout
        Mean share of the genes that are left out of a sentence (the share is drawn uniformly, up to twice the mean).
    mix
        Probability that a cell is merged with another one of its label (counts added, then halved by thinning).
    """

    depth: float = 1.0
    dropout: float = 0.3
    mix: float = 0.4


NONE = Augmentation(dropout=0.0, mix=0.0)


def pseudo_counts(x: sparse.csr_matrix) -> sparse.csr_matrix:
    """Bring expression back to whole numbers, so that cells can be thinned and merged.

    Counts stay as they are. Anything else is read as log1p of counts that were scaled per cell: the smallest value of
    a cell is then one count, and the others are rounded multiples of it.
    """
    x = sparse.csr_matrix(x, dtype=np.float32, copy=True)
    if not x.nnz or (x.data == np.round(x.data)).all():
        return x
    x.data = np.expm1(x.data)
    filled = np.diff(x.indptr) > 0
    smallest = np.ones(x.shape[0], dtype=np.float32)
    smallest[filled] = np.minimum.reduceat(x.data, x.indptr[:-1][filled])
    x.data = np.maximum(np.round(x.data / np.repeat(smallest, np.diff(x.indptr))), 1)
    return x


class Augmenter:
    """Draws variants of cells; variant ``i`` is the same whenever and in whatever order it is asked for.

    Parameters
    ----------
    counts
        Whole numbers, cells × genes.
    labels
        Label of each cell, as a number: only cells of one label are merged.
    how
        Strength of the augmentation.
    seed
        Seed of all variants.
    """

    def __init__(self, counts: sparse.csr_matrix, labels: np.ndarray, how: Augmentation, *, seed: int) -> None:
        self.counts, self.labels, self.how, self.seed = counts, np.asarray(labels), how, seed
        order = np.argsort(self.labels, kind="stable")
        starts = np.searchsorted(self.labels[order], np.arange(self.labels.max(initial=0) + 2))
        self._members = [order[a:b] for a, b in zip(starts[:-1], starts[1:], strict=True)]

    def variant(self, cell: int, i: int) -> np.ndarray:
        """Genes of one variant of a cell, by falling value; ties are broken at random."""
        rng = np.random.default_rng([self.seed, i])
        genes, values = self._row(cell)
        if self.how.mix and rng.random() < self.how.mix:
            other_genes, other_values = self._row(rng.choice(self._members[self.labels[cell]]))
            genes, place = np.unique(np.concatenate([genes, other_genes]), return_inverse=True)
            values = rng.binomial(np.bincount(place, np.concatenate([values, other_values])).astype(np.int64), 0.5)
        if self.how.depth < 1:
            values = rng.binomial(values.astype(np.int64), rng.uniform(self.how.depth, 1))
        keep = values > 0
        if self.how.dropout:
            keep &= rng.random(len(genes)) >= rng.uniform(0, 2 * self.how.dropout)
        genes, values = genes[keep], values[keep]
        return genes[np.lexsort((rng.random(len(genes)), -values))]

    def _row(self, cell: int) -> tuple[np.ndarray, np.ndarray]:
        row = slice(self.counts.indptr[cell], self.counts.indptr[cell + 1])
        return self.counts.indices[row], self.counts.data[row]
