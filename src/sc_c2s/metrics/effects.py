"""Effects of perturbations: pure functions of expression, means and changes of means."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from .measures import correlation, rank_correlation

Values = NDArray[np.float64]

_NO_VARIANCE, _NO_DIFFERENCE = 1e-12, 1e-9
"""Below these, rounding is all that tells cells or genes apart."""
_METRICS = {"l1": "cityblock", "l2": "euclidean", "cosine": "cosine"}


class Moments(NamedTuple):
    """What a test needs to know of a set of cells."""

    mean: Values
    """Of each gene, in units of the values."""
    variance: Values
    """Of each gene (with n - 1), in squared units of the values."""
    share: Values
    """Cells with a value above zero."""
    n: int
    """Number of cells."""


def moments(x: Any) -> Moments:
    """Mean and variance of each gene, and the share of cells that express it.

    Parameters
    ----------
    x
        Cells × genes, dense or sparse; at least two cells.

    Returns
    -------
    These values and the number of cells.
    """
    n = x.shape[0]
    if n < 2:
        raise ValueError(f"A variance needs two cells or more, not {n}.")
    if not sp.issparse(x):
        x = np.asarray(x)
        return Moments(
            x.mean(axis=0, dtype=np.float64), x.var(axis=0, ddof=1, dtype=np.float64), (x > 0).mean(axis=0), n
        )
    values = sp.csr_matrix(x, dtype=np.float64)
    mean, square, share = (np.asarray(m.sum(axis=0)).ravel() / n for m in (values, values.multiply(values), values > 0))
    return Moments(mean, np.maximum(square - mean**2, 0) * n / (n - 1), share, n)


def t_scores(perturbed: Moments, control: Moments) -> tuple[Values, Values]:
    """Welch's t-test of each gene, as :func:`scanpy.tl.rank_genes_groups` takes it with ``method="t-test"``.

    It differs where no cell of either set varies: scanpy's scores are infinite there, these are finite and grow with
    the difference.

    Parameters
    ----------
    perturbed, control
        The sets of cells.

    Returns
    -------
    The score of each gene, positive where the perturbed cells have more, and its p-value after Benjamini and Hochberg.
    """
    from scipy.stats import false_discovery_control, ttest_ind_from_stats

    sets = [(a.mean, np.sqrt(np.maximum(a.variance, _NO_VARIANCE)), a.n) for a in (perturbed, control)]
    scores, p = ttest_ind_from_stats(*sets[0], *sets[1], equal_var=False)
    return scores, false_discovery_control(p)


def strongest(scores: ArrayLike, n: int) -> NDArray[np.intp]:
    """Genes with the largest scores of either sign.

    Parameters
    ----------
    scores
        One for each gene.
    n
        Number of genes.

    Returns
    -------
    Their positions, strongest first, without genes whose score is 0; the first of equal ones comes first.
    """
    size = np.abs(np.asarray(scores, dtype=np.float64))
    order = np.argsort(-size, kind="stable")[:n]
    return order[size[order] > 0]


def top_share(real: ArrayLike, predicted: ArrayLike, n: int) -> float:
    """Share of the genes with the largest real scores that are among those with the largest predicted scores.

    Parameters
    ----------
    real, predicted
        Scores of the same genes; their sign does not count.
    n
        Number of genes on each side.

    Returns
    -------
    The share; NaN where no real score differs from 0.
    """
    expected = strongest(real, n)
    return float(np.isin(expected, strongest(predicted, n)).mean()) if len(expected) else np.nan


def pearson_delta(control: ArrayLike, real: ArrayLike, predicted: ArrayLike) -> float:
    """Pearson correlation, over genes, of the predicted with the real change of mean expression.

    Parameters
    ----------
    control
        Mean of each gene in real control cells.
    real, predicted
        Mean of each gene in real and in predicted perturbed cells, in the same units.

    Returns
    -------
    The correlation. A prediction that changes no gene, or all by the same, gets 0: it says nothing of what happens, and
    must not drop out of an average. NaN where the real change is the same for all genes.
    """
    real, predicted = _changes(control, real, predicted)
    if not len(real) or np.ptp(real) < _NO_DIFFERENCE:
        return np.nan
    return 0.0 if np.ptp(predicted) < _NO_DIFFERENCE else correlation(predicted, real)


def r2_delta(control: ArrayLike, real: ArrayLike, predicted: ArrayLike) -> float:
    r"""Share of the change of mean expression that a prediction explains, its size included.

    .. math:: 1 - \sum_g (\hat\Delta_g - \Delta_g)^2 / \sum_g \Delta_g^2

    Parameters
    ----------
    control
        Mean of each gene in real control cells.
    real, predicted
        Mean of each gene in real and in predicted perturbed cells, in the same units.

    Returns
    -------
    1 for the real change, 0 for no change, below 0 where no change would be nearer; NaN where nothing really changes.
    """
    real, predicted = _changes(control, real, predicted)
    total = (real**2).sum()
    return float(1 - ((predicted - real) ** 2).sum() / total) if total > 0 else np.nan


def kendall_delta(control: ArrayLike, real: ArrayLike, predicted: ArrayLike) -> float:
    r"""Kendall's :math:`\tau_b`, over genes, of the predicted with the real change of mean expression.

    Parameters
    ----------
    control
        Mean of each gene in real control cells.
    real, predicted
        Mean of each gene in real and in predicted perturbed cells, in the same units.

    Returns
    -------
    The correlation. A prediction that changes no gene, or all by the same, gets 0. NaN where the real change is the same for all
    genes. Changes that differ by rounding alone are tied.
    """
    real, predicted = _changes(control, real, predicted)
    if not len(real) or np.ptp(real) < _NO_DIFFERENCE:
        return np.nan
    return 0.0 if np.ptp(predicted) < _NO_DIFFERENCE else rank_correlation(predicted, real)


def _changes(control: ArrayLike, real: ArrayLike, predicted: ArrayLike) -> tuple[Values, Values]:
    """Real and predicted change of each gene."""
    control, real, predicted = (np.asarray(mean, dtype=np.float64) for mean in (control, real, predicted))
    if not control.shape == real.shape == predicted.shape or control.ndim != 1:
        raise ValueError(
            f"The means have the shapes {control.shape}, {real.shape} and {predicted.shape}: "
            "give a value for each of the same genes."
        )
    return real - control, predicted - control


def direction_match(real: ArrayLike, predicted: ArrayLike, significant: ArrayLike | None = None) -> float:
    """Share of the genes that the prediction moves the way they really move.

    Parameters
    ----------
    real, predicted
        Real and predicted change of each gene.
    significant
        The genes to look at, a boolean for each; all without it.

    Returns
    -------
    The share; a predicted change of 0 goes the wrong way. NaN where there is no gene to look at.
    """
    real, predicted = (np.asarray(change, dtype=np.float64) for change in (real, predicted))
    chosen = np.ones(real.shape, dtype=bool) if significant is None else np.asarray(significant, dtype=bool)
    if not real.shape == predicted.shape == chosen.shape:
        raise ValueError(
            f"There are {real.shape} real and {predicted.shape} predicted changes of {chosen.shape} genes."
        )
    return float((np.sign(real) == np.sign(predicted))[chosen].mean()) if chosen.any() else np.nan


def discrimination_score(
    predicted: ArrayLike, real: ArrayLike, *, metric: str = "l1", exclude: ArrayLike | None = None
) -> Values:
    r"""Whether a predicted effect lies nearest to the real effect of its own perturbation.

    .. math:: 1 - r / n

    with :math:`r` the number of perturbations whose real effect is nearer to the predicted one than that of the right
    perturbation is, and :math:`n` the number of perturbations. Perturbations at the same distance count half. This is
    the score of the Virtual Cell Challenge (Roohani *et al.* 2025).

    Parameters
    ----------
    predicted, real
        Perturbations × genes: changes of mean expression, a row for the same perturbation in both.
    metric
        Distance: ``"l1"``, ``"l2"`` or ``"cosine"``.
    exclude
        Perturbations × genes, true for genes that are left out when the prediction of that row is compared: the
        targets, which give away which perturbation it is.

    Returns
    -------
    A score for each perturbation: 1 is best, 1/n worst and (n + 1) / 2n chance. NaN for predictions that hold NaN, and
    if there is one perturbation only.
    """
    from scipy.spatial.distance import cdist

    predicted, real = (np.asarray(effects, dtype=np.float64) for effects in (predicted, real))
    if predicted.shape != real.shape or real.ndim != 2:
        raise ValueError(
            f"Effects have the shapes {predicted.shape} and {real.shape}: give a row for each perturbation."
        )
    if metric not in _METRICS:
        raise ValueError(f"metric={metric!r} is none of {', '.join(_METRICS)}.")
    left_out = np.zeros(real.shape, dtype=bool) if exclude is None else np.asarray(exclude, dtype=bool)
    if left_out.shape != real.shape:
        raise ValueError(f"exclude has the shape {left_out.shape} for effects of the shape {real.shape}.")
    scores = np.full(len(real), np.nan)
    for i, effect in enumerate(predicted):
        if len(real) < 2 or np.isnan(effect).any():
            continue
        kept = ~left_out[i]
        distances = cdist(effect[None, kept], real[:, kept], _METRICS[metric])[0]
        # An effect of zero has no direction: it has nothing in common with any other.
        distances = np.nan_to_num(distances, nan=1.0)
        rank = (distances < distances[i]).sum() + ((distances == distances[i]).sum() - 1) / 2
        scores[i] = 1 - rank / len(real)
    return scores
