"""Cells as the training reads them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from sc_c2s._keys import JOIN

from .split import TRAIN, VALIDATION


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
    def kinds(self) -> np.ndarray:
        """Values of all groupings of each cell, joined."""
        return np.array([JOIN.join(value) for value in self._values()], dtype=object)

    @cached_property
    def named(self) -> dict[str, dict[str, str]]:
        """Value of each grouping, by the kind of cell."""
        values = zip(self.kinds, self._values(), strict=True)
        return {kind: dict(zip(self.groupings, value, strict=True)) for kind, value in values}

    @cached_property
    def perturbations(self) -> np.ndarray:
        """Value of the last grouping of each cell."""
        return np.array([value[-1] for value in self._values()], dtype=object)

    @cached_property
    def contexts(self) -> np.ndarray:
        """Values of the groupings before the last of each cell, joined."""
        return np.array([JOIN.join(value[:-1]) for value in self._values()], dtype=object)

    def to_judge(self, which: str, known: np.ndarray, what: str) -> np.ndarray:
        """Numbers of the cells in one set that a model can be judged on; some have to be left to choose on."""
        cells = self.of(which)[known[self.of(which)]]
        if not len(cells) and which == VALIDATION:
            raise ValueError(
                f"No validation cell has a {what} that the training cells have, so there is nothing to choose on: "
                "use another split_key= or rng=."
            )
        return cells

    def _values(self) -> list[list[str]]:
        values = self.labels[:, None] if self.conditions is None else self.conditions
        return [[str(part) for part in row] for row in values]

    def fingerprint(self) -> str:
        """Digest of names, labels, split and values."""
        digest = hashlib.sha256()
        parts = [self.genes, self.cells, self.labels, self.split]
        for part in parts if self.conditions is None else [*parts, *self.conditions.T]:
            digest.update("\n".join(map(str, part)).encode())
        for array in (self.x.indptr, self.x.indices, self.x.data):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]
