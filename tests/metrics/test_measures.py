"""Measures of generated cells whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from sc_c2s.metrics.measures import _auc, _nearest_conditions, _rare_genes

RNG = np.random.default_rng(0)


def test_rare_genes_that_never_occur() -> None:
    real = np.zeros((40, 3))
    real[0, 0] = real[1, 1] = 1
    real[:, 2] = 1
    assert _rare_genes(real, real) == 1
    other = real.copy()
    other[:, 1] = 0
    assert _rare_genes(real, other) == 0.5


def test_nearest_cells_vote() -> None:
    real = np.array([[0.0], [1], [2], [10], [11], [12], [13]])
    labels = np.array(["a", "a", "b", "b", "b", "b", "b"], dtype=object)
    found = _nearest_conditions(real, labels, np.array([[-1.0], [14]]))
    assert list(found["knn_3"]) == ["a", "b"]
    assert list(found["knn_25"]) == ["b", "b"], "all of fewer cells"


def test_a_classifier_tells_what_differs_and_nothing_else() -> None:
    real, same = RNG.normal(size=(2, 150, 10))
    assert _auc(real, same, seed=0) == pytest.approx(0.5, abs=0.08)
    assert _auc(real, same + 5, seed=0) == 1
    assert _auc(real, same / 3, seed=0) > 0.9, "in the middle of the real cells"
    assert np.isnan(_auc(real[:9], same[:9], seed=0))
