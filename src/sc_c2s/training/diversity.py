"""The temperature at which written cells differ from each other as much as real ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from sc_c2s.metrics.diversity import rank_distance

CLOSE = 0.005
LEAST, MOST = 0.5, 1.5
SLOPE, LEAST_SLOPE = 1.6, 0.15
"""What a unit of temperature does to the diversity of a nano, about: where to look first; and the least that is believed."""
STEP = 0.05
"""How far from the first trial the second one is at least, so that the slope between them says something."""


def fit_sampling_temperature(
    write: Callable[[float], sparse.csr_matrix], cells: sparse.csr_matrix, kinds: np.ndarray
) -> float:
    """Find the temperature at which cells are as diverse as real ones.

    A model that is right about every next gene still drifts, as it goes on from what it wrote itself, and its cells come out
    more different from each other than the cells it learned from. The rank distance of pairs of one kind tells how much at two
    temperatures, and the line through both where it is that of the real cells.

    Parameters
    ----------
    write
        Writes cells like ``cells`` at a temperature: of the same kinds, and with the same values.
    cells
        Real cells × genes, zeros not stored.
    kinds
        Kind of each of them; kinds of a single cell say nothing.

    Returns
    -------
    The temperature, from 0.5 to 1.5; 1 where nothing can be said.
    """
    real = _distance(cells, kinds)
    if not real > 0:
        return 1.0
    excess = _distance(write(1.0), kinds) / real - 1
    if not abs(excess) >= CLOSE:
        return 1.0
    second = _within(1.0 - np.copysign(max(abs(excess) / SLOPE, STEP), excess))
    left = _distance(write(second), kinds) / real - 1
    slope = max((excess - left) / (1.0 - second), LEAST_SLOPE)
    return round(_within(second - left / slope), 3)


def _within(temperature: float) -> float:
    return float(np.clip(temperature, LEAST, MOST))


def _distance(x: sparse.csr_matrix, kinds: np.ndarray) -> float:
    """Rank distance within a kind, mean over the kinds."""
    names, sizes = np.unique(kinds, return_counts=True)
    found = [rank_distance(x[kinds == name], seed=0) for name in names[sizes > 1]]
    return float(np.mean(found)) if found else np.nan
