"""Changes of expression as words: which genes rise, which fall, and that the rest stays as it was."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

RISES, FALLS, SAME = "+", "-", "="
"""What stands before a gene that rises or falls, and the word for everything that does not change."""


FLOOR = 0.1
"""Added to every mean, in log1p counts per 10,000, where one is divided by another: what is hardly expressed says little."""


def in_proportion(shift: np.ndarray, mean: np.ndarray, reference: np.ndarray) -> np.ndarray:
    r"""Say changes in such a way that cells of other kinds can be told the same.

    A gene can rise anywhere, so a rise is told as it is. It can fall only where it is, so a fall :math:`\Delta` is told as what it
    would be at a common level :math:`r` of the gene: :math:`\Delta (r + 0.1) / (m + 0.1)`, with :math:`m` the mean of the cells at hand.

    Parameters
    ----------
    shift
        Changes (cells × genes, or genes), differences of log1p counts per 10,000.
    mean
        Mean expression of the control cells that they are of, in these units.
    reference
        The common level.

    Returns
    -------
    The same shape.
    """
    return np.where(shift > 0, shift, shift * (reference + FLOOR) / (mean + FLOOR))


def at_level(told: np.ndarray, mean: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Read what :func:`in_proportion` told for cells of some mean; a gene loses no more than all of it.

    Parameters
    ----------
    told, mean, reference
        As there.

    Returns
    -------
    Changes, the same shape.
    """
    return np.where(told > 0, told, np.maximum(told * (mean + FLOOR) / (reference + FLOOR), -mean))


def change_words(words: Iterable[str]) -> list[str]:
    """Write all that can happen to some genes.

    Parameters
    ----------
    words
        Gene names as they stand in a sentence.

    Returns
    -------
    A word for each gene that rises, one for each that falls, and one for no change.
    """
    words = list(words)
    return [*(RISES + word for word in words), *(FALLS + word for word in words), SAME]


def to_shares(changes: np.ndarray, scale: float) -> np.ndarray:
    r"""Share of each word in a change.

    With :math:`\Delta_g` the change of gene :math:`g` and :math:`s` the scale, ``+g`` has the share
    :math:`\max(\Delta_g, 0) / s`, ``-g`` :math:`\max(-\Delta_g, 0) / s`, and ``=`` what is missing to 1. A change larger than the
    scale is shrunk to it.

    Parameters
    ----------
    changes
        Cells × genes, differences of log1p counts per 10,000.
    scale
        Sum of the absolute changes at which nothing is left for ``=``, in the same units.

    Returns
    -------
    Cells × (2 × genes + 1), rows that sum to one, in the order of :func:`change_words`.
    """
    changes = np.asarray(changes, dtype=np.float64) / scale
    total = np.abs(changes).sum(axis=1, keepdims=True)
    changes = changes / np.maximum(total, 1)
    return np.hstack([np.maximum(changes, 0), np.maximum(-changes, 0), np.maximum(1 - total, 0)])


def to_changes(shares: np.ndarray, scale: float) -> np.ndarray:
    """Read changes off the shares, or probabilities, of the words: the inverse of :func:`to_shares`.

    Parameters
    ----------
    shares
        Cells × (2 × genes + 1).
    scale
        As there.

    Returns
    -------
    Cells × genes.
    """
    n = (shares.shape[1] - 1) // 2
    return scale * (np.asarray(shares[:, :n]) - np.asarray(shares[:, n : 2 * n]))


def expected_expression(x: np.ndarray, changes: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Apply changes to cells so that no value falls below zero and their mean changes by the mean change.

    What rises is added. What falls takes the same share from every value of the gene, so that cells without the gene stay
    without it.

    Parameters
    ----------
    x
        Cells × genes, log1p counts per 10,000.
    changes
        The same shape, differences in these units.
    mean
        Mean expression of the genes over the cells that these belong to.

    Returns
    -------
    Cells × genes, float32.
    """
    left = 1 + np.minimum(changes, 0) / np.maximum(mean, 1e-8)
    return (x * np.clip(left, 0, 1) + np.maximum(changes, 0)).astype(np.float32)
