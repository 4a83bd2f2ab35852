"""Distances with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats
from scipy.linalg import sqrtm

from sc_c2s.metrics.distances import (
    energy_distance,
    frechet_distance,
    gene_wasserstein,
    median_bandwidth,
    mmd,
    sliced_wasserstein,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5)) @ RNG.normal(size=(5, 5))
Y = RNG.normal(size=(45, 5)) + 1
DISTANCES = {
    "frechet": frechet_distance,
    "mmd": lambda x, y: mmd(x, y, bandwidth=1.5),
    "energy": energy_distance,
    "sliced": sliced_wasserstein,
    "gene": lambda x, y: gene_wasserstein(x, y).mean(),
}
every_distance = pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES)


@every_distance
def test_a_set_is_at_no_distance_from_itself(distance) -> None:
    assert distance(X, X[::-1]) == pytest.approx(0, abs=1e-9)
    assert distance(X, Y) > 0.01


@every_distance
def test_which_set_comes_first_does_not_matter(distance) -> None:
    assert distance(X, Y) == pytest.approx(distance(Y, X))
    assert distance(sparse.csr_matrix(X), Y) == pytest.approx(distance(X, Y))


@every_distance
def test_what_cannot_be_measured(distance) -> None:
    with pytest.raises(ValueError, match="5 and 4 dimensions; they have to be in one space"):
        distance(X, Y[:, :4])
    with pytest.raises(ValueError, match="NaN or infinite"):
        distance(X, np.where(Y > 1, np.nan, Y))
    with pytest.raises(ValueError, match="each set needs"):
        distance(X, Y[:0])


def test_frechet_distance_of_a_shift_and_of_a_stretch() -> None:
    shift = np.array([1.0, -2, 0, 0, 3])
    assert frechet_distance(X, X + shift) == pytest.approx(shift @ shift)
    centred = X - X.mean(axis=0)
    # tr(Σ + 9Σ - 2·3Σ) = 4 tr Σ
    assert frechet_distance(centred, 3 * centred) == pytest.approx(4 * np.cov(X.T).trace())


@pytest.mark.parametrize("n", [3, 45])
def test_frechet_distance_is_that_of_the_formula(n) -> None:
    """Also with fewer points than dimensions, where covariances are singular."""
    a, b = np.cov(X.T), np.cov(Y[:n].T)
    expected = ((X.mean(axis=0) - Y[:n].mean(axis=0)) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(X, Y[:n]) == pytest.approx(expected, rel=1e-5)


def test_energy_distance_is_scipys_on_a_line() -> None:
    for column in range(5):
        expected = stats.energy_distance(X[:, column], Y[:, column]) ** 2
        assert energy_distance(X[:, [column]], Y[:, [column]]) == pytest.approx(expected)


def test_mmd_of_two_points() -> None:
    assert mmd([[0.0]], [[2.0]], bandwidth=2.0) == pytest.approx(2 - 2 * np.exp(-0.5))
    with pytest.raises(ValueError, match="above zero"):
        mmd(X, Y, bandwidth=0)


def test_mmd_of_shifted_gaussians_nears_its_closed_form() -> None:
    """For N(0, 1) and N(m, 1) with a kernel of width h: 2 (1 - exp(-m² / (2h² + 4))) · sqrt(h² / (h² + 2))."""
    rng, m, h = np.random.default_rng(1), 1.5, 1.2
    expected = 2 * np.sqrt(h**2 / (h**2 + 2)) * (1 - np.exp(-(m**2) / (2 * h**2 + 4)))
    found = mmd(rng.normal(size=(3000, 1)), rng.normal(size=(3000, 1)) + m, bandwidth=h)
    assert found == pytest.approx(expected, abs=0.02)


def test_median_bandwidth() -> None:
    assert median_bandwidth([[0.0], [1.0], [3.0]]) == 2
    assert median_bandwidth([[0.0], [0.0], [5.0]]) == 5, "a point's distance to its copy says nothing"
    with pytest.raises(ValueError, match="All points are the same"):
        median_bandwidth([[1.0, 2.0]] * 3)


def test_wasserstein_distance_of_a_shift() -> None:
    shift = np.array([1.0, -2, 0, 0, 3])
    np.testing.assert_allclose(gene_wasserstein(X, X + shift), np.abs(shift), atol=1e-12)
    directions = np.random.default_rng(3).normal(size=(5, 40))
    directions /= np.linalg.norm(directions, axis=0)
    found = sliced_wasserstein(X, X + shift, n_projections=40, rng=3)
    assert found == pytest.approx(np.abs(shift @ directions).mean())


def test_wasserstein_distance_with_other_numbers_of_points() -> None:
    np.testing.assert_allclose(gene_wasserstein([[0.0], [1.0]], [[0.0], [0.0], [3.0], [3.0]]), [1.0])


@pytest.mark.parametrize(("n", "m"), [(60, 45), (45, 45), (60, 1), (7, 11)])
def test_wasserstein_distance_is_scipys(n, m) -> None:
    expected = [stats.wasserstein_distance(a, b) for a, b in zip(X[:n].T, Y[:m].T, strict=True)]
    np.testing.assert_allclose(gene_wasserstein(X[:n], Y[:m]), expected)


def test_pertpy_agrees() -> None:
    pertpy = pytest.importorskip("pertpy", exc_type=ImportError)
    energy = pertpy.tl.Distance(metric="edistance", obsm_key="X_pca")
    assert energy_distance(X, Y) == pytest.approx(energy(X, Y), abs=1e-6)
    kernel = pertpy.tl.Distance(metric="mmd", obsm_key="X_pca")
    assert mmd(X, Y, bandwidth=1.5) == pytest.approx(kernel(X, Y, kernel="rbf", gamma=1 / (2 * 1.5**2)), abs=1e-6)
