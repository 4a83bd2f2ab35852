from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from sc_c2s import metrics


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, np.ndarray]:
    """Three overlapping groups of log-expression-like values, half of them zeros."""
    rng = np.random.default_rng(0)
    y = np.repeat(["B", "NK", "T cell"], [60, 30, 90])
    centre = {label: rng.gamma(1, 1, 25) for label in np.unique(y)}
    x = np.stack([centre[label] for label in y]) + rng.normal(0, 1.0, (180, 25))
    order = rng.permutation(180)
    return np.clip(x, 0, None).astype(np.float32)[order], y[order]


def test_labels_are_those_of_scikit_learn(cells: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = cells
    result = metrics.annotation_baselines(x[:120], y[:120], x[120:])
    regression = LogisticRegression(max_iter=1000).fit(x[:120], y[:120])
    labels, proba = result["logistic regression"]
    np.testing.assert_array_equal(labels, regression.predict(x[120:]))
    np.testing.assert_allclose(proba, regression.predict_proba(x[120:]), atol=1e-3)
    labels, _ = result["nearest centroid"]
    np.testing.assert_array_equal(labels, NearestCentroid().fit(x[:120], y[:120]).predict(x[120:]))
    labels, proba = result["majority class"]
    assert set(labels) == {"T cell"}
    counts = pd.Series(y[:120]).value_counts(normalize=True)
    np.testing.assert_allclose(proba.iloc[7], counts[proba.columns])


def test_tables_share_the_order_of_labels_and_hold_probabilities(cells: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = cells
    order = ["T cell", "never seen", "NK", "B"]
    for labels, proba in metrics.annotation_baselines(x[:120], y[:120], x[120:], labels=order).values():
        assert proba.columns.tolist() == order
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
        assert (proba["never seen"] == 0).all()
        np.testing.assert_array_equal(proba.idxmax(axis=1), labels)


def test_sparse_and_dense_agree(cells: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = cells
    dense = metrics.annotation_baselines(x[:120], y[:120], x[120:])
    for kind in (sp.csr_matrix, sp.csc_matrix, sp.csr_array):
        sparse = metrics.annotation_baselines(kind(x[:120]), y[:120], kind(x[120:]))
        for name in dense:
            np.testing.assert_array_equal(sparse[name][0], dense[name][0])
            np.testing.assert_allclose(sparse[name][1], dense[name][1], atol=1e-3)


def test_centroid_probabilities_are_of_use(cells: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = cells
    table = metrics.annotation_table(metrics.annotation_baselines(x[:120], y[:120], x[120:]), y[120:])
    assert table.loc["nearest centroid", "log_loss"] < 0.5 * table.loc["majority class", "log_loss"]


def test_cells_without_label_are_left_out(cells: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = cells
    blanked = y.astype(object)
    blanked[:20] = np.nan
    with_gaps = metrics.annotation_baselines(x[:120], blanked[:120], x[120:])
    without = metrics.annotation_baselines(x[20:120], y[20:120], x[120:])
    for name in without:
        pd.testing.assert_frame_equal(with_gaps[name][1], without[name][1])


def test_bad_input(cells: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = cells
    with pytest.raises(ValueError, match="at least two different labels"):
        metrics.annotation_baselines(x, ["B"] * len(y), x)
    with pytest.raises(ValueError, match="use the same"):
        metrics.annotation_baselines(x, y, x[:, :3])
    with pytest.raises(ValueError, match="180 cells"):
        metrics.annotation_baselines(x, y[:4], x)
    with pytest.raises(ValueError, match="lacks these training labels: B"):
        metrics.annotation_baselines(x, y, x, labels=["NK", "T cell"])
