"""Measures of :func:`sc_c2s.metrics.generation`, condition by condition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from .distances import energy_distance, frechet_distance, gene_wasserstein, mmd, sliced_wasserstein
from .fold_changes import fold_change_agreement

NEIGHBOURS = (3, 5, 10, 25)
RARE = 0.05
"""A gene is rare in a condition where fewer of its real cells than this share express it."""
LEAST_FOR_AUC = 10
N_RANK_PAIRS = 500

Values = NDArray[np.float64]


def by_condition(
    real: sp.csr_matrix,
    other: sp.csr_matrix,
    real_space: Values,
    other_space: Values,
    conditions: NDArray[np.object_],
    *,
    bandwidth: float,
    seed: int,
) -> pd.DataFrame:
    """Take every measure but the overlap of top genes.

    Parameters
    ----------
    real, other
        Cells × genes in log1p counts per 10,000.
    real_space, other_space
        The same cells in the embedding.
    conditions
        Condition of each cell: one list for both.
    bandwidth
        Width of the kernel.
    seed
        Seed of directions, folds and pairs.

    Returns
    -------
    A row for each condition.
    """
    nearest = _nearest_conditions(real_space, conditions, other_space)
    rows = {}
    for condition in np.unique(conditions):
        here = np.flatnonzero(conditions == condition)
        a, b = real_space[here], other_space[here]
        x, y = (cells[here].toarray().astype(np.float64) for cells in (real, other))
        rows[condition] = {
            "scfid": frechet_distance(a, b),
            "mmd": mmd(a, b, bandwidth=bandwidth),
            "energy": energy_distance(a, b),
            "sliced_wasserstein": sliced_wasserstein(a, b, rng=seed),
            "gene_wasserstein": float(gene_wasserstein(x, y).mean()),
            **{name: float((labels[here] == condition).mean()) for name, labels in nearest.items()},
            "auc": _auc(a, b, seed=seed),
            "mean_correlation": correlation(x.mean(axis=0), y.mean(axis=0)),
            "variance_correlation": correlation(x.var(axis=0), y.var(axis=0)),
            "dropout_correlation": correlation((x == 0).mean(axis=0), (y == 0).mean(axis=0)),
            "rare_genes": _rare_genes(x, y),
            "diversity": _diversity(other[here], seed) / (_diversity(real[here], seed) or np.nan),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    agreement = fold_change_agreement(real, conditions, other, conditions)
    return table.join(agreement[["lfc_pearson", "lfc_slope"]])


def _nearest_conditions(real: Values, conditions: NDArray[np.object_], other: Values) -> dict[str, NDArray[np.object_]]:
    """Condition that the nearest real cells give to every other cell; the first of the alphabet in a tie."""
    from sklearn.neighbors import NearestNeighbors

    names, codes = np.unique(conditions, return_inverse=True)
    most = min(max(NEIGHBOURS), len(real))
    nearest = NearestNeighbors(n_neighbors=most).fit(real).kneighbors(other, return_distance=False)
    votes = np.identity(len(names), dtype=np.int32)[codes[nearest]].cumsum(axis=1)
    return {f"knn_{k}": names[votes[:, min(k, most) - 1].argmax(axis=1)] for k in NEIGHBOURS}


def _auc(real: Values, other: Values, *, seed: int) -> float:
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.svm import SVC

    if len(real) < LEAST_FOR_AUC:
        return np.nan
    x, y = np.concatenate([real, other]), np.repeat([0, 1], [len(real), len(other)])
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    # Not a linear one: cells that are too much alike lie in the middle of the real ones, where no plane parts them.
    return float(roc_auc_score(y, cross_val_predict(SVC(C=10), x, y, cv=folds, method="decision_function")))


def correlation(a: Values, b: Values) -> float:
    """Pearson's correlation of two lists of values; NaN where one of them is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])


def _rare_genes(real: Values, other: Values) -> float:
    share = (real > 0).mean(axis=0)
    rare = (share > 0) & (share < RARE)
    return float((other[:, rare] > 0).any(axis=0).mean()) if rare.any() else np.nan


def _diversity(x: sp.csr_matrix, seed: int) -> float:
    """Mean rank distance of pairs of cells drawn at random; NaN where no pair has one."""
    rng = np.random.default_rng(seed)
    first = rng.integers(x.shape[0], size=N_RANK_PAIRS)
    second = (first + rng.integers(1, x.shape[0], size=N_RANK_PAIRS)) % x.shape[0]
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
