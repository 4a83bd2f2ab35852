"""What simple methods reach on the same cells: a table of scores means little without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

Prediction = tuple[NDArray[np.object_], pd.DataFrame]
"""Predicted labels, and the probability of every label (a row a cell, a column a label)."""


def annotation_baselines(
    x_train: Any,
    y_train: ArrayLike,
    x_test: Any,
    *,
    labels: ArrayLike | None = None,
) -> dict[str, Prediction]:
    """Annotate cells with three simple methods, all of them deterministic.

    Parameters
    ----------
    x_train
        Log expression of the training cells, dense or sparse, taken as it is (not scaled).
    y_train
        Their labels. Cells with a missing label are left out.
    x_test
        Log expression of the cells to annotate, same genes.
    labels
        Columns of the probability tables, in order. By default the training labels, sorted. A label without training
        cells gets probability zero; a training label that is not listed is an error.

    Returns
    -------
    For each method its predicted labels and its probability table:

    `"logistic regression"`
        Multinomial, L2 penalty with C = 1, lbfgs.
    `"nearest centroid"`
        Mean expression of each label, Euclidean distance. Probabilities are the softmax of the negative squared
        distances times one scale, chosen on the training cells.
    `"majority class"`
        The most frequent training label for every cell; its probabilities are the training frequencies.
    """
    known = ~pd.isna(np.asarray(y_train, dtype=object))
    x_train, x_test = _matrix(x_train), _matrix(x_test)
    if x_train.shape[0] != len(known):
        raise ValueError(f"`x_train` has {x_train.shape[0]} cells and `y_train` has {len(known)}.")
    if x_train.shape[1] != x_test.shape[1]:
        raise ValueError(f"`x_train` has {x_train.shape[1]} genes and `x_test` has {x_test.shape[1]}; use the same.")
    x_train = x_train[np.flatnonzero(known)]
    y = np.asarray(y_train, dtype=object)[known].astype(str)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError("The training cells need at least two different labels.")
    columns = classes if labels is None else np.asarray(labels, dtype=object).astype(str)
    if missing := sorted(set(classes) - set(columns)):
        raise ValueError(f"`labels` lacks these training labels: {', '.join(missing)}.")
    methods = {
        "logistic regression": _logistic_regression(x_train, codes, x_test),
        "nearest centroid": _nearest_centroid(x_train, codes, x_test),
        "majority class": np.tile(np.bincount(codes) / len(codes), (x_test.shape[0], 1)),
    }
    return {
        name: (
            classes[proba.argmax(axis=1)].astype(object),
            pd.DataFrame(proba, columns=classes).reindex(columns=columns, fill_value=0.0),
        )
        for name, proba in methods.items()
    }


def _matrix(x: Any) -> Any:
    return sp.csr_matrix(x) if sp.issparse(x) else np.asarray(x)


def _logistic_regression(x_train: Any, codes: NDArray[np.intp], x_test: Any) -> NDArray[np.float64]:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1.0, max_iter=1000).fit(x_train, codes).predict_proba(x_test)


def _nearest_centroid(x_train: Any, codes: NDArray[np.intp], x_test: Any) -> NDArray[np.float64]:
    cells = np.arange(len(codes))
    share = sp.csr_matrix((1 / np.bincount(codes)[codes], (codes, cells)))
    mean = share @ x_train
    centroids = mean.toarray() if sp.issparse(mean) else mean
    scores = _affinity(x_train, centroids)

    def loss(log_scale: float) -> float:
        return -log_softmax(scores * np.exp(log_scale), axis=1)[cells, codes].mean()

    # squared distances grow with the number of genes; the starting unit takes that out again
    gaps = scores.max(axis=1, keepdims=True) - scores
    unit = -np.log(max(gaps.mean(), np.finfo(float).tiny))
    scale = np.exp(minimize_scalar(loss, bounds=(unit - 5, unit + 10), method="bounded").x)
    return softmax(_affinity(x_test, centroids) * scale, axis=1)


def _affinity(x: Any, centroids: NDArray[np.float64]) -> NDArray[np.float64]:
    """Negative squared distances, less the cell's own square, which is the same for every label."""
    return 2 * np.asarray(x @ centroids.T) - (centroids**2).sum(axis=1)
