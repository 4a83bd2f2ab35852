"""How far two sets of cells are apart: pure functions of two arrays in one space.

Values depend on the space, on its units and on the number of cells. Compare only what was measured in the same space with
as many cells, and put the distance between two halves of the real cells beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]


def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    r"""Fréchet distance between the Gaussians with the means and covariances of two sets.

    .. math:: \|\mu_x-\mu_y\|^2 + \mathrm{tr}\left(\Sigma_x+\Sigma_y-2(\Sigma_x\Sigma_y)^{1/2}\right)

    Heusel *et al.* 2017 (FID); in an embedding of cells it is called scFID. The estimate is too large by an amount that
    falls with the number of cells and grows with the dimensions.

    Parameters
    ----------
    x, y
        Points × dimensions; at least two points each.

    Returns
    -------
    The distance, in squared units of the space; 0 for equal means and covariances.
    """
    x, y = _pair(x, y, least=2)
    shift = x.mean(axis=0) - y.mean(axis=0)
    # tr (Σx Σy)^½ is the sum of the singular values of the product of the factors: no square root of a matrix that
    # rounding has made indefinite.
    a, b = ((z - z.mean(axis=0)) / np.sqrt(len(z) - 1) for z in (x, y))
    cross = np.linalg.svd(_factor(a) @ _factor(b).T, compute_uv=False).sum()
    return max(float(shift @ shift + (a**2).sum() + (b**2).sum() - 2 * cross), 0.0)


def median_bandwidth(x: ArrayLike) -> float:
    """Median distance between two points: the usual width of a Gaussian kernel.

    Parameters
    ----------
    x
        Points × dimensions, at least two that differ.

    Returns
    -------
    The median, in units of the space.
    """
    from scipy.spatial.distance import pdist

    distances = pdist(_points(x))
    distances = distances[distances > 0]
    if not len(distances):
        raise ValueError("All points are the same, so there is no distance to take the median of.")
    return float(np.median(distances))


def mmd(x: ArrayLike, y: ArrayLike, *, bandwidth: float) -> float:
    r"""Squared maximum mean discrepancy under the kernel :math:`\exp(-\|a-b\|^2 / 2h^2)`.

    Gretton *et al.* 2012. This is the biased estimate (with each point's similarity to itself), which is never negative,
    and 0 for equal sets.

    Parameters
    ----------
    x, y
        Points × dimensions.
    bandwidth
        Width :math:`h` of the kernel, in units of the space; :func:`median_bandwidth` of the real cells is usual.

    Returns
    -------
    The discrepancy, from 0 to 2.
    """
    if not bandwidth > 0:
        raise ValueError(f"bandwidth={bandwidth} has to be above zero.")
    x, y = _pair(x, y)

    def mean(a: Points, b: Points) -> float:
        return float(np.exp(-_squared(a, b) / (2 * bandwidth**2)).mean())

    return max(mean(x, x) + mean(y, y) - 2 * mean(x, y), 0.0)


def energy_distance(x: ArrayLike, y: ArrayLike) -> float:
    r"""Energy distance :math:`2E\|X-Y\| - E\|X-X'\| - E\|Y-Y'\|`.

    Székely and Rizzo 2013. The estimate is the biased one, with each point's distance to itself: never negative, and 0 for
    equal sets.

    Parameters
    ----------
    x, y
        Points × dimensions.

    Returns
    -------
    The distance, in units of the space.
    """
    from scipy.spatial.distance import cdist

    x, y = _pair(x, y)
    return max(float(2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()), 0.0)


def sliced_wasserstein(
    x: ArrayLike, y: ArrayLike, *, n_projections: int = 100, rng: int | np.random.Generator = 0
) -> float:
    """Mean Wasserstein-1 distance between two sets along random directions.

    Rabin *et al.* 2012, with directions drawn evenly from the sphere.

    Parameters
    ----------
    x, y
        Points × dimensions.
    n_projections
        Number of directions.
    rng
        Seed of the directions.

    Returns
    -------
    The distance, in units of the space.
    """
    x, y = _pair(x, y)
    directions = np.random.default_rng(rng).normal(size=(x.shape[1], n_projections))
    directions /= np.linalg.norm(directions, axis=0)
    return float(gene_wasserstein(x @ directions, y @ directions).mean())


def gene_wasserstein(x: ArrayLike, y: ArrayLike) -> Points:
    """Wasserstein-1 distance between two sets, for each column alone.

    Parameters
    ----------
    x, y
        Cells × genes.

    Returns
    -------
    A distance for each gene, in units of the values.
    """
    x, y = _pair(x, y)
    # The distance lies between the sorted values. With n and m points both sorted lists are constant between the
    # multiples of m and those of n on the way to n·m.
    n, m = len(x), len(y)
    ends = np.union1d(m * np.arange(1, n + 1), n * np.arange(1, m + 1))
    width = np.diff(ends, prepend=0) / (n * m)
    return width @ np.abs(np.sort(x, axis=0)[(ends - 1) // m] - np.sort(y, axis=0)[(ends - 1) // n])


def _factor(a: Points) -> Points:
    """Shorten a factor of a covariance ``a.T @ a`` to a square one."""
    return a if len(a) <= a.shape[1] else np.asarray(np.linalg.qr(a, mode="r"))


def _squared(a: Points, b: Points) -> Points:
    from scipy.spatial.distance import cdist

    return cdist(a, b, "sqeuclidean")


def _pair(x: ArrayLike, y: ArrayLike, *, least: int = 1) -> tuple[Points, Points]:
    x, y = _points(x), _points(y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"The sets have {x.shape[1]} and {y.shape[1]} dimensions; they have to be in one space.")
    if min(len(x), len(y)) < least:
        raise ValueError(f"There are {len(x)} and {len(y)} points; each set needs {least} or more.")
    return x, y


def _points(x: Any) -> Points:
    dense = np.asarray(x.toarray() if sp.issparse(x) else x, dtype=np.float64)
    if dense.ndim != 2:
        raise ValueError(f"Points have to be an array with two dimensions, not {dense.ndim}.")
    if not np.isfinite(dense).all():
        raise ValueError("There are points that are NaN or infinite; leave these cells out.")
    return dense
