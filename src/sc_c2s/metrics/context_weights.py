"""How much each context, a cell type for example, says about another: weights from the means of control cells.

Every method that needs no trained model predicts a weighted sum of the shifts that were seen in other contexts. A shift
is the mean of perturbed less that of control cells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

N_NEIGHBOURS = 15
TEMPERATURE = 0.05
"""Differences of correlation that weigh e times as much."""
LEAST_FOR_RIDGE, LEAST_FOR_BLEND = 4, 3
"""Contexts below which there is nothing to fit."""
PENALTIES = tuple(10.0**power for power in range(-1, 5))
_MOST_COMPONENTS = 5


def mean_weights(n: int) -> Values:
    """All contexts alike.

    Parameters
    ----------
    n
        Number of contexts.

    Returns
    -------
    A weight for each.
    """
    return np.full(n, 1 / n)


def similarities(controls: Values, target: Values) -> Values:
    """Pearson correlation over genes of each context's control cells with those of the target.

    Parameters
    ----------
    controls
        Contexts × genes: mean log expression of control cells.
    target
        The same of the target, a value for each gene.

    Returns
    -------
    A correlation for each context; 0 where a mean is constant.
    """
    a, b = controls - controls.mean(axis=1, keepdims=True), target - target.mean()
    sizes = np.linalg.norm(a, axis=1) * np.linalg.norm(b)
    return np.divide(a @ b, sizes, out=np.zeros(len(controls)), where=sizes > 0)


def nearest_weights(controls: Values, target: Values) -> Values:
    """Take the context whose control cells correlate best, alone.

    Parameters
    ----------
    controls, target
        As in :func:`similarities`.

    Returns
    -------
    One for the nearest context (the first of equal ones), zero for the others.
    """
    return np.eye(len(controls))[similarities(controls, target).argmax()]


def similarity_weights(controls: Values, target: Values, *, temperature: float = TEMPERATURE) -> Values:
    """Contexts by the softmax of their correlation.

    Parameters
    ----------
    controls, target
        As in :func:`similarities`.
    temperature
        Difference of correlation that weighs e times as much.

    Returns
    -------
    A weight for each context; their sum is 1.
    """
    found = similarities(controls, target) / temperature
    weights = np.exp(found - found.max())
    return weights / weights.sum()


def neighbour_weights(
    cells: Values, contexts: NDArray[np.intp], targets: Values, *, n_contexts: int, k: int = N_NEIGHBOURS
) -> Values:
    """Contexts of the nearest control cells, for each target cell alone.

    Parameters
    ----------
    cells
        Control cells × dimensions.
    contexts
        Number of the context of each of them.
    targets
        Target cells × dimensions, in the same space.
    n_contexts
        Number of contexts.
    k
        Number of neighbours, at most all cells.

    Returns
    -------
    Target cells × contexts: the share of the neighbours.
    """
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=min(k, len(cells))).fit(cells).kneighbors(targets, return_distance=False)
    return np.eye(n_contexts)[contexts[nearest]].mean(axis=1)


def ridge_penalty(controls: Values, shifts: Values) -> float:
    """Penalty for :func:`ridge_weights`: the one of :data:`PENALTIES` that predicts each context best from the others.

    Parameters
    ----------
    controls
        As in :func:`similarities`.
    shifts
        Contexts × genes.

    Returns
    -------
    The penalty with the least squared error over all genes; the largest one with fewer than four contexts.
    """
    n = len(controls)
    if n < LEAST_FOR_RIDGE:
        return PENALTIES[-1]
    errors = []
    for penalty in PENALTIES:
        predicted = [
            _component_weights(np.delete(controls, i, axis=0), controls[i], n - 2, penalty)
            @ np.delete(shifts, i, axis=0)
            for i in range(n)
        ]
        errors.append(((np.array(predicted) - shifts) ** 2).sum())
    return PENALTIES[int(np.argmin(errors))]


def ridge_weights(controls: Values, target: Values, *, penalty: float) -> Values:
    """Regression of the shift of each gene on the leading principal components of the control means.

    The fit is linear in the shifts, so it is a weight for each context, of either sign. Components (at most five, and
    two fewer than contexts) have unit variance.

    Parameters
    ----------
    controls, target
        As in :func:`similarities`.
    penalty
        How strongly coefficients are shrunk, see :func:`ridge_penalty`.

    Returns
    -------
    A weight for each context; their sum is 1. All alike with fewer than four contexts.
    """
    n = len(controls)
    return mean_weights(n) if n < LEAST_FOR_RIDGE else _component_weights(controls, target, n - 2, penalty)


def _component_weights(controls: Values, target: Values, n_comps: int, penalty: float) -> Values:
    n, centre = len(controls), controls.mean(axis=0)
    u, s, vt = np.linalg.svd(controls - centre, full_matrices=False)
    kept = np.flatnonzero(s > 1e-9 * max(s[0], 1e-300))[: min(n_comps, _MOST_COMPONENTS)]
    # Standardised components are orthogonal, each with n as its sum of squares: there is no matrix to invert.
    scores = u[:, kept] * np.sqrt(n)
    at_target = vt[kept] @ (target - centre) / s[kept] * np.sqrt(n)
    return 1 / n + scores @ at_target / (n + penalty)


def blend_weights(candidates: Values, truth: Values) -> Values:
    """Non-negative weights whose sum of candidates is nearest to the truth (least squares).

    Parameters
    ----------
    candidates
        Observations × methods: predictions of contexts that took no part in them.
    truth
        The shift of each observation, a gene in a context.

    Returns
    -------
    A weight for each method.
    """
    from scipy.optimize import nnls

    # As many rows as methods hold all that the fit depends on.
    q, r = np.linalg.qr(candidates)
    return np.asarray(nnls(r, q.T @ truth)[0], dtype=np.float64)
