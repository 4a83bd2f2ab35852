"""Rank distances between cells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from sc_c2s.metrics.diversity import _rank_correlations, rank_distance

RNG = np.random.default_rng(0)


def test_rank_correlation_is_scipys_over_genes_that_either_cell_expresses() -> None:
    x = RNG.poisson(0.8, size=(20, 60))
    first, second = np.arange(19), np.arange(1, 20)
    expected = []
    for a, b in zip(x[first], x[second], strict=True):
        shown = (a > 0) | (b > 0)
        expected.append(stats.spearmanr(a[shown], b[shown]).statistic)
    np.testing.assert_allclose(_rank_correlations(sparse.csr_matrix(x), first, second), expected)


def test_cells_without_ranks_have_no_correlation() -> None:
    x = sparse.csr_matrix([[1.0, 1, 0], [2, 2, 0], [0, 0, 0]])
    assert np.isnan(_rank_correlations(x, np.array([0, 2]), np.array([1, 2]))).all()
    assert np.isnan(rank_distance(x[[2, 2]], seed=0))


def test_diversity_of_equal_and_of_opposite_ranks() -> None:
    ranks = np.arange(1.0, 6)
    assert rank_distance(sparse.csr_matrix([ranks, 3 * ranks]), seed=0) == pytest.approx(0)
    assert rank_distance(sparse.csr_matrix([ranks, ranks[::-1]]), seed=0) == pytest.approx(2)
