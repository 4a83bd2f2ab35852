"""Cells as the training reads them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from .split import TRAIN


@dataclass(frozen=True)
class LabelledCells:
    """Cells with a label and a set, as the training reads them.

    Attributes
    ----------
    x
        Expression on the scale it was given in, cells × genes.
    log
        The same in log1p counts per 10,000 (or as it was given, if that was a log scale).
    genes, cells
        Names of columns and rows.
    labels
        Label of each cell: its value of the first grouping.
    split
        ``"train"``, ``"validation"`` or ``"test"``.
    groupby
        Where the labels came from.
    organism
        Whose cells they are, if known.
    conditions
        Value of each cell for each grouping (cells × groupings), where there are several.
    groupings
        Where the conditions came from.
    """

    x: sparse.csr_matrix
    log: sparse.csr_matrix
    genes: np.ndarray
    cells: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    groupby: str
    organism: str | None
    conditions: np.ndarray | None = None
    groupings: tuple[str, ...] = ()

    def of(self, which: str) -> np.ndarray:
        """Numbers of the cells in one set."""
        return np.flatnonzero(self.split == which)

    @property
    def label_set(self) -> list[str]:
        """Labels that training cells carry, in order."""
        return sorted(set(self.labels[self.of(TRAIN)]))

    @cached_property
    def combinations(self) -> np.ndarray:
        """Values of all groupings of each cell, as one object a cell that can be compared and sorted."""
        values = self.labels[:, None] if self.conditions is None else self.conditions
        found = np.empty(len(values), dtype=object)
        found[:] = [tuple(map(str, row)) for row in values]
        return found

    def fingerprint(self) -> str:
        """Digest of names, labels, split and values."""
        digest = hashlib.sha256()
        parts = [self.genes, self.cells, self.labels, self.split]
        for part in parts if self.conditions is None else [*parts, *self.conditions.T]:
            digest.update("\n".join(map(str, part)).encode())
        for array in (self.x.indptr, self.x.indices, self.x.data):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]
