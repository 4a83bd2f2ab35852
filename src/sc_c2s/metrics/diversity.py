"""How much cells differ from each other in the order of their genes."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

N_PAIRS = 500

Values = NDArray[np.float64]


def rank_distance(x: sp.csr_matrix, *, seed: int, n_pairs: int = N_PAIRS) -> float:
    """Mean rank distance (1 - Spearman's correlation over the genes that either cell expresses) of pairs of cells.

    Parameters
    ----------
    x
        Cells × genes, zeros not stored.
    seed
        Draws the pairs.
    n_pairs
        How many.

    Returns
    -------
    The mean; NaN where no pair has a distance.
    """
    rng = np.random.default_rng(seed)
    first = rng.integers(x.shape[0], size=n_pairs)
    second = (first + rng.integers(1, x.shape[0], size=n_pairs)) % x.shape[0]
    distances = 1 - _rank_correlations(x, first, second)
    return float(np.nanmean(distances)) if np.isfinite(distances).any() else np.nan


def _rank_correlations(x: sp.csr_matrix, first: NDArray[np.intp], second: NDArray[np.intp]) -> Values:
    """Spearman's correlation of each pair of cells over the genes that either expresses; ties share a rank.

    Of u such genes a cell expresses n. Its u - n zeros share the lowest rank, and a gene that has rank p among the n
    has rank u - n + p. Less the mean rank (u + 1) / 2 this is -n / 2 for a zero, and p + (u - n - 1) / 2 above that for
    an expressed gene, so that all sums run over expressed genes alone.
    """
    from scipy.stats import rankdata

    x = x.sorted_indices()  # `astype` may sort its result, and the ranks have to be in the same order
    ranks = x.astype(np.float64)
    ranks.data = np.concatenate([rankdata(row) for row in np.split(x.data, x.indptr[1:-1])])
    ones = ranks.copy()
    ones.data[:] = 1
    sizes = np.diff(x.indptr).astype(np.float64)
    p, q, in_p, in_q = ranks[first], ranks[second], ones[first], ones[second]
    n, m, both = sizes[first], sizes[second], _row_sums(in_p.multiply(in_q))
    union = n + m - both
    a, b = (union - n - 1) / 2, (union - m - 1) / 2
    product = (
        _row_sums(p.multiply(q))
        + a * _row_sums(in_p.multiply(q))
        + b * _row_sums(p.multiply(in_q))
        + a * b * both
        - union * n * m / 4
    )
    squares = [
        _row_sums(r.multiply(r)) + shift * size * (size + 1) + size * shift**2 - union * size**2 / 4
        for r, shift, size in ((p, a, n), (q, b, m))
    ]
    scale = np.sqrt(squares[0] * squares[1])
    return np.divide(product, scale, out=np.full(len(first), np.nan), where=scale > 0)


def _row_sums(x: Any) -> Values:
    return np.asarray(x.sum(axis=1)).ravel()
