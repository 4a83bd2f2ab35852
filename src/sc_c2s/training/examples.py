"""Training rows: prompts and the answers they should get, written when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .augment import Augmenter


@dataclass(frozen=True)
class Examples:
    """Rows of one task over augmented cells: row ``i`` of a schedule depends on its cell and on ``i`` alone.

    Attributes
    ----------
    cells
        Makes variants of cells.
    words
        Gene names as they stand in a sentence.
    answers
        Text that should follow the prompt of each cell.
    prompt
        Writes a prompt around a sentence.
    n_genes
        Longest sentence; ``None`` for no limit.
    """

    cells: Augmenter
    words: np.ndarray
    answers: Sequence[str]
    prompt: Callable[[str], str]
    n_genes: int | None

    def row(self, cell: int, i: int) -> tuple[str, str]:
        """Prompt and completion of the ``i``-th row, which shows a variant of this cell."""
        genes = self.cells.variant(cell, i)[: self.n_genes]
        return self.prompt(" ".join(self.words[genes])), self.answers[cell]


def schedule(lengths: np.ndarray, *, n_epochs: int, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """Order in which cells are shown: every cell once an epoch, cells of like length in one batch.

    Batches of like length hold little padding. The order within an epoch is drawn anew each time; cells that do not
    fill the last batch of an epoch go first in the next one.

    Parameters
    ----------
    lengths
        Length of every cell's sentence.
    n_epochs
        Number of times every cell is shown.
    batch_size
        Cells in a batch.

    Returns
    -------
    Numbers of cells, a multiple of ``batch_size`` of them (at least one batch).
    """
    order = np.concatenate([rng.permutation(len(lengths)) for _ in range(n_epochs)])
    n_batches = max(len(order) // batch_size, 1)
    order = np.resize(order, n_batches * batch_size)
    # Sorting happens within stretches of 16 batches, so that chance still decides who meets whom.
    for start in range(0, len(order), 16 * batch_size):
        stretch = order[start : start + 16 * batch_size]
        stretch = stretch[np.argsort(lengths[stretch], kind="stable")].reshape(-1, batch_size)
        order[start : start + 16 * batch_size] = rng.permutation(stretch).ravel()
    return order
