"""Measures of :func:`sc_c2s.metrics.generation`, condition by condition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from .distances import energy_distance, frechet_distance, gene_wasserstein, mmd, sliced_wasserstein
from .diversity import rank_distance
from .fold_changes import fold_change_agreement

NEIGHBOURS = (3, 5, 10, 25)
RARE = 0.05
"""A gene is rare in a condition where fewer of its real cells than this share express it."""
LEAST_FOR_AUC = 10
_DIGITS = 9
"""Digits that are more than rounding."""

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
            "diversity": rank_distance(other[here], seed=seed) / (rank_distance(real[here], seed=seed) or np.nan),
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


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    r"""Kendall's :math:`\tau_b` of two sets of values; NaN where those of either are all the same."""
    from scipy.stats import kendalltau

    # Means of the same values in another order differ in their last digits, which would part what is tied.
    a, b = (np.round(np.asarray(values, dtype=np.float64), _DIGITS) for values in (a, b))
    return np.nan if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0 else float(kendalltau(a, b).statistic)


def _rare_genes(real: Values, other: Values) -> float:
    share = (real > 0).mean(axis=0)
    rare = (share > 0) & (share < RARE)
    return float((other[:, rare] > 0).any(axis=0).mean()) if rare.any() else np.nan
