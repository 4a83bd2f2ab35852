"""How a model wants its sentences: one recipe for training, validation and use."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import sparse

from .ranking import hash_names, rank_genes
from .text import write_sentences


@dataclass(frozen=True)
class Recipe:
    """What is written into a sentence, and how.

    Attributes
    ----------
    n_genes
        Longest sentence; ``None`` keeps all expressed genes.
    ties
        How equal values are ordered: ``"hash"``.
    organism
        Whose genes they are, if known.
    normalisation
        Scale the ranks were taken on; ranks are the same on any scale that keeps the order within a cell.
    """

    n_genes: int | None = None
    ties: str = "hash"
    organism: str | None = None
    normalisation: str = "none"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a model card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Recipe:
        """Read what :meth:`to_dict` wrote; settings of later versions are ignored."""
        return cls(**{name: stored[name] for name in cls.__dataclass_fields__ if name in stored})

    def write(
        self, x: sparse.csr_matrix, genes: np.ndarray, cells: np.ndarray, *, vocabulary: np.ndarray, view: int = 0
    ) -> list[str]:
        """Write the sentences of cells with the genes of a vocabulary.

        Parameters
        ----------
        x
            Expression, cells × genes, on any scale.
        genes
            Names of the columns.
        cells
            Names of the rows: they break ties.
        vocabulary
            Names of the genes that may be written; others are dropped before ranking.
        view
            Which order of the ties: 0 is the one that ``pp.to_sentences`` writes.
        """
        known = np.isin(genes.astype(str), np.asarray(vocabulary).astype(str))
        cell_hash = hash_names(cells)
        if view:
            cell_hash = cell_hash ^ np.random.default_rng(view).integers(2**63, dtype=np.uint64)
        ranked = rank_genes(
            sparse.csr_matrix(x[:, known]),
            n_genes=self.n_genes,
            cell_hash=cell_hash,
            gene_hash=hash_names(genes[known]),
        )
        return write_sentences(ranked, genes[known]).to_pylist()
