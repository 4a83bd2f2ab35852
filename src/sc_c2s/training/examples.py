"""Training rows: prompts and the answers they should get, written when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .augment import Augmenter


class Rows(Protocol):
    """Rows of one task: row ``i`` of a schedule depends on its cell and on ``i`` alone."""

    def row(self, cell: int, i: int) -> tuple[str, ...]:
        """Prompt and completion of the ``i``-th row, which shows a variant of this cell; where it goes on, more of both."""
        ...

    @property
    def lengths(self) -> np.ndarray:
        """Number of genes of each cell."""
        ...


@runtime_checkable
class Shared(Protocol):
    """Rows whose answer is a share of every word."""

    def prompt(self, cell: int, i: int) -> str:
        """Prompt of the ``i``-th row."""
        ...

    def shares(self, cell: int) -> np.ndarray:
        """Share that each word should have."""
        ...


@dataclass(frozen=True)
class Examples:
    """Rows of the annotation task: a cell, and the answer to it.

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

    @property
    def lengths(self) -> np.ndarray:
        """Number of genes of each cell."""
        return self.cells.counts.getnnz(axis=1)


@dataclass(frozen=True)
class CellsToWrite:
    """Rows of the generation task: a condition, and a cell of that kind.

    Attributes
    ----------
    cells
        Gives the genes of a cell, ties broken anew each time.
    words
        Gene names as they stand in a sentence.
    prompts
        What asks for each cell.
    answer
        Writes an answer around a sentence.
    n_genes
        Longest sentence; ``None`` for no limit.
    """

    cells: Augmenter
    words: np.ndarray
    prompts: Sequence[str]
    answer: Callable[[str], str]
    n_genes: int | None

    def row(self, cell: int, i: int) -> tuple[str, str]:
        """Prompt and completion of the ``i``-th row."""
        genes = self.cells.variant(cell, i)[: self.n_genes]
        return self.prompts[cell], self.answer(" ".join(self.words[genes]))

    @property
    def lengths(self) -> np.ndarray:
        """Number of genes of each cell."""
        return self.cells.counts.getnnz(axis=1)


@dataclass(frozen=True)
class ChangeRows:
    """Rows of the perturbation task: a control cell, what is done to it, and what changes.

    Attributes
    ----------
    cells
        Makes variants of control cells.
    words
        Gene names as they stand in a sentence.
    prompts
        Writes the prompt of each kind of row around a sentence.
    targets
        Gives the shares of the words for a row.
    cell, kind
        Control cell and kind of each row.
    named
        Whether a row names what is done.
    answers
        What may be answered.
    n_genes
        Longest sentence; ``None`` for no limit.
    seed
        Draws the answer of a row, where it is one word.
    """

    cells: Augmenter
    words: np.ndarray
    prompts: Any
    targets: Any
    cell: np.ndarray
    kind: np.ndarray
    named: np.ndarray
    answers: list[str]
    n_genes: int | None
    seed: int

    def row(self, row: int, i: int) -> tuple[str, str]:
        """Prompt of the ``i``-th row, and one word, drawn by its share."""
        share = self.shares(row)
        word = np.random.default_rng([self.seed, i]).choice(len(share), p=share / share.sum())
        return self.prompt(row, i), self.answers[word]

    def prompt(self, row: int, i: int) -> str:
        """Prompt of the ``i``-th row, which shows a variant of its cell."""
        genes = self.cells.variant(self.cell[row], i)[: self.n_genes]
        return self.prompts(self.kind[row], " ".join(self.words[genes]), self.named[row])

    def shares(self, row: int) -> np.ndarray:
        """Share that each word should have."""
        return self.targets(self.cell[row], self.kind[row])

    @property
    def lengths(self) -> np.ndarray:
        """Number of genes of each row's cell."""
        return self.cells.counts.getnnz(axis=1)[self.cell]


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


def interleave(orders: Sequence[np.ndarray], *, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """Mix the batches of several tasks.

    Parameters
    ----------
    orders
        Cells of each task in their order, whole batches of them.
    batch_size
        Cells in a batch.

    Returns
    -------
    Task and cell of each row (rows × 2); the batches of a task keep their order.
    """
    tasks = np.repeat(np.arange(len(orders)), [len(order) // batch_size for order in orders])
    if len(orders) > 1:
        tasks = rng.permutation(tasks)
    mixed = np.empty((len(tasks), batch_size, 2), dtype=np.int64)
    for task, order in enumerate(orders):
        mixed[tasks == task, :, 0] = task
        mixed[tasks == task, :, 1] = order.reshape(-1, batch_size)
    return mixed.reshape(-1, 2)
