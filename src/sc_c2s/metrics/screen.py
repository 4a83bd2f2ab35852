"""Statistics of a screen: whether effects differ between two sets of cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]

_BLOCK = 1000
"""Permutations that are held in memory at once."""
_ROUNDING = 1e-9
"""Difference below which two splits are equal, relative to the largest value."""


class Splits(NamedTuple):
    """Effects of candidates in two sets of cells, a value for each candidate."""

    effect_a: Values
    """Mean over the cells of A, in units of the values."""
    effect_b: Values
    """Mean over the cells of B."""
    split: Values
    """Effect in A less that in B."""
    split_z: Values
    """Split in standard deviations of what exchanged labels give; NaN where all cells have the same value."""
    p_value: Values
    """Two-sided, by permutation."""
    p_adj: Values
    """After Benjamini and Hochberg, over the candidates."""


def split_effects(
    values: ArrayLike, in_a: ArrayLike, *, n_permutations: int = 1000, rng: np.random.Generator | int = 0
) -> Splits:
    r"""Compare the effects of candidates in two sets of cells by exchanging the labels of the cells.

    With :math:`N` splits of exchanged labels, the same exchanges for all candidates, a p-value is

    .. math:: p = \frac{1 + \#\{|\text{exchanged}| \ge |\text{split}|\}}{1 + N}.

    The standard deviation that scales ``split_z`` is that over all exchanges that there are, which is known without
    drawing any: :math:`s \sqrt{1/n_A + 1/n_B}`, with :math:`s` the standard deviation of all cells together.

    Parameters
    ----------
    values
        Cells × candidates: effect of each candidate on each cell.
    in_a
        Whether a cell belongs to A (otherwise to B), a boolean for each.
    n_permutations
        Number of exchanges.
    rng
        Draws them.

    Returns
    -------
    A value for each candidate.
    """
    from scipy.stats import false_discovery_control

    values, in_a = np.asarray(values, dtype=np.float64), np.asarray(in_a, dtype=bool)
    if values.ndim != 2 or in_a.shape != values.shape[:1]:
        raise ValueError(f"There are values of the shape {values.shape} for {in_a.shape} cells.")
    if in_a.all() or not in_a.any():
        raise ValueError("All cells are on one side: there is nothing to compare.")
    if n_permutations < 1:
        raise ValueError(f"n_permutations={n_permutations} has to be 1 or more.")
    n_a, n_b = int(in_a.sum()), int((~in_a).sum())
    effect_a, effect_b = values[in_a].mean(axis=0), values[~in_a].mean(axis=0)
    split, rounding = effect_a - effect_b, _ROUNDING * np.abs(values).max(axis=0)
    weights = np.where(in_a, 1 / n_a, -1 / n_b)
    # Weights sum to zero: what all cells have in common adds nothing but rounding.
    centred = values - values.mean(axis=0)
    n_as_large = _n_as_large(centred, weights, np.abs(split) - rounding, n_permutations, np.random.default_rng(rng))
    p_value = (1 + n_as_large) / (1 + n_permutations)
    sd = values.std(axis=0, ddof=1) * np.sqrt(1 / n_a + 1 / n_b)
    return Splits(
        effect_a,
        effect_b,
        split,
        split_z=np.divide(split, sd, out=np.full(len(sd), np.nan), where=sd > rounding),
        p_value=p_value,
        p_adj=false_discovery_control(p_value),
    )


def _n_as_large(
    values: Values, weights: Values, least: Values, n_permutations: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Count, for each candidate, the exchanges whose split of either sign is at least so large."""
    found = np.zeros(len(least), dtype=np.intp)
    for first in range(0, n_permutations, _BLOCK):
        n = min(_BLOCK, n_permutations - first)
        exchanged = rng.permuted(np.tile(weights, (n, 1)), axis=1)
        found += (np.abs(exchanged @ values) >= least).sum(axis=0)
    return found


def share_also_called(split: ArrayLike, hits: ArrayLike, other: ArrayLike) -> float:
    """Share of the hits of one method that another method would call, too.

    The other method calls as many candidates as there are hits: of those that it splits the same way, the ones that it
    splits most. One that it does not split at all, or of which it knows nothing (NaN), it never calls.

    Parameters
    ----------
    split
        Split of each candidate.
    hits
        Whether it is a hit.
    other
        Split of each candidate by the other method.

    Returns
    -------
    The share; NaN without hits.
    """
    split, other = (np.asarray(values, dtype=np.float64) for values in (split, other))
    hits = np.asarray(hits, dtype=bool)
    if not split.shape == other.shape == hits.shape:
        raise ValueError(f"There are {split.shape} and {other.shape} splits of {hits.shape} candidates.")
    if not hits.any():
        return np.nan
    alike = np.flatnonzero(np.sign(split) * np.sign(other) == 1)
    called = alike[np.argsort(-np.abs(other[alike]), kind="stable")[: hits.sum()]]
    return float(np.isin(np.flatnonzero(hits), called).mean())
