"""How good predicted labels are, and how far their probabilities can be trusted.

Every function here is pure: labels and probabilities in, numbers out. Cells without a true label are left
out; a cell whose prediction is missing or "unknown" stays in and counts as wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

NO_PREDICTION = "(none)"
"""Name that :func:`confusion` gives to missing predictions."""

HEADINGS = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "balanced_accuracy": "balanced accuracy",
    "ece": "calibration error",
    "ece_chance": "by chance",
    "ece_chance_p95": "by chance, 95 %",
    "brier": "Brier score",
    "log_loss": "log loss",
    "n": "cells",
    "n_missing": "without prediction",
}
"""Scores of :func:`annotation` in their order, and what to call them in front of readers."""


class ChanceCalibration(NamedTuple):
    """Calibration error that chance alone gives a perfectly calibrated model."""

    mean: float
    p95: float


def annotation(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    proba: pd.DataFrame | ArrayLike | None = None,
    labels: Sequence[str] | None = None,
    n_bins: int = 10,
    rng: int | np.random.Generator = 0,
) -> dict[str, float]:
    """Score predicted labels against the truth.

    Pandas objects that name their cells are matched by name, everything else by position.

    Parameters
    ----------
    y_true
        True labels. Cells with a missing label are left out.
    y_pred
        Predicted labels. A missing label, and one that is not the true one ("unknown" for instance), is wrong.
    proba
        Probability of every label, a row a cell. A row of NaN (a cell that could not be scored) is left out of the
        figures that need probabilities. A true label without a column has probability zero.
    labels
        Names of the columns of ``proba``, where it is not a DataFrame.
    n_bins
        Number of equal-width bins of the calibration error.
    rng
        Seed of the draws behind ``ece_chance``.

    Returns
    -------
    A dictionary with

    `accuracy`
        Share of cells whose predicted label is the true one.
    `balanced_accuracy`
        Mean over the true labels of the share of their cells that were found.
    `macro_f1`
        Mean F1 over the labels that occur in the truth.
    `n`, `n_missing`
        Cells with a true label, and those of them without a prediction.

    and, with `proba`,

    `ece`
        Expected calibration error of the highest probability, see :func:`expected_calibration_error`.
    `ece_chance`, `ece_chance_p95`
        Mean and 95th percentile of what a perfectly calibrated model with the same confidences would show.
    `brier`
        Sum over labels of the squared difference between probability and truth, mean over cells (0 to 2).
    `log_loss`
        Mean negative log-probability of the true label.
    """
    truth, predicted, table = _prepare(y_true, y_pred, proba, labels)
    by_label = _by_label(truth, predicted)
    result: dict[str, float] = {
        "accuracy": float((truth == predicted).mean()),
        "balanced_accuracy": float(by_label["recall"].mean()),
        "macro_f1": float(by_label["f1"].mean()),
        "n": len(truth),
        "n_missing": sum(label is None for label in predicted),
    }
    if table is not None:
        result |= _probability_scores(truth, table, n_bins=n_bins, rng=rng)
    return {name: result[name] for name in HEADINGS if name in result}


def annotation_table(
    predictions: Mapping[str, tuple[ArrayLike, pd.DataFrame | ArrayLike | None]],
    y_true: ArrayLike,
    *,
    labels: Sequence[str] | None = None,
    n_bins: int = 10,
    rng: int = 0,
) -> pd.DataFrame:
    """Score several methods on the same cells.

    Parameters
    ----------
    predictions
        For every method its predicted labels and its probabilities (or None), as for :func:`annotation`.
    y_true
        True labels.
    labels
        Names of the columns of those probabilities that are not a DataFrame.
    n_bins
        Number of equal-width bins of the calibration error.
    rng
        Seed of the draws behind ``ece_chance``; every method gets the same.

    Returns
    -------
    A row a method, a column a score of :func:`annotation`. ``table.rename(columns=metrics.HEADINGS)`` gives the
    columns their names in words.
    """
    rows = {
        name: annotation(y_true, y_pred, proba=proba, labels=labels, n_bins=n_bins, rng=rng)
        for name, (y_pred, proba) in predictions.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.reindex(columns=[name for name in HEADINGS if name in table]).rename_axis("method")


def annotation_by_label(y_true: ArrayLike, y_pred: ArrayLike) -> pd.DataFrame:
    """Precision, recall and F1 of every label that occurs in the truth.

    Parameters
    ----------
    y_true
        True labels. Cells with a missing label are left out.
    y_pred
        Predicted labels.

    Returns
    -------
    A row a label with the columns `n` (cells that carry it), `precision` (0 where it was never predicted), `recall`
    and `f1`.
    """
    truth, predicted, _ = _prepare(y_true, y_pred, None, None)
    return _by_label(truth, predicted, order=_order_of(y_true))


def confusion(y_true: ArrayLike, y_pred: ArrayLike, *, labels: Iterable[str] | None = None) -> pd.DataFrame:
    """Count cells by true and predicted label.

    Parameters
    ----------
    y_true
        True labels. Cells with a missing label are left out.
    y_pred
        Predicted labels. Missing ones are counted in a last column, ``"(none)"``.
    labels
        Order of the labels. By default the order of the categories of ``y_true`` if it has any, else the alphabet.
        Labels that occur and are not listed come after, so that every cell is counted.

    Returns
    -------
    Counts, true labels in rows and predicted ones in columns. The columns begin with the rows' labels in the same
    order, so that the diagonal holds the correct cells; labels that were only predicted follow.
    """
    truth, predicted, _ = _prepare(y_true, y_pred, None, None)
    order = _order_of(y_true) if labels is None else [str(label) for label in labels]
    present = set(truth)
    rows = list(dict.fromkeys([*(x for x in order if x in present or labels is not None), *sorted(present)]))
    guesses = np.array([NO_PREDICTION if label is None else label for label in predicted], dtype=object)
    others = set(guesses) - set(rows)
    last = [NO_PREDICTION] if NO_PREDICTION in others else []
    columns = [*rows, *(x for x in _order_of(y_pred) if x in others), *last]
    counts = pd.crosstab(truth, guesses).reindex(index=rows, columns=columns, fill_value=0)
    return counts.rename_axis(index="true label", columns="predicted label")


def reliability(confidence: ArrayLike, correct: ArrayLike, *, n_bins: int = 10) -> pd.DataFrame:
    """Compare confidence with the share of correct cells, bin by bin.

    Parameters
    ----------
    confidence
        Probability of each cell's predicted label. Cells with NaN are left out.
    correct
        Whether each prediction is right.
    n_bins
        Number of equal-width bins between 0 and 1; a bin holds its upper edge, the first one also 0.

    Returns
    -------
    A row a bin with its edges `low` and `high`, the number of cells `n`, their mean `confidence` and their
    `accuracy`, both NaN in an empty bin.
    """
    scores, hits = _scored(confidence, correct)
    edges = np.linspace(0, 1, n_bins + 1)
    bins = _bin(scores, n_bins)
    counts = np.bincount(bins, minlength=n_bins)
    filled = np.where(counts == 0, np.nan, counts)
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "n": counts,
            "confidence": np.bincount(bins, weights=scores, minlength=n_bins) / filled,
            "accuracy": np.bincount(bins, weights=hits, minlength=n_bins) / filled,
        }
    )


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, *, n_bins: int = 10) -> float:
    """Mean gap between confidence and accuracy over equal-width bins, each bin weighted by its cells.

    Parameters
    ----------
    confidence
        Probability of each cell's predicted label. Cells with NaN are left out.
    correct
        Whether each prediction is right.
    n_bins
        Number of equal-width bins between 0 and 1.

    Returns
    -------
    The error, 0 to 1; NaN without cells. A finite set of cells never shows 0, see
    :func:`chance_calibration_error`.
    """
    table = reliability(confidence, correct, n_bins=n_bins)
    n = table["n"].sum()
    gaps = (table["accuracy"] - table["confidence"]).abs()
    return float((gaps * table["n"]).sum() / n) if n else float("nan")


def chance_calibration_error(
    confidence: ArrayLike,
    *,
    n_bins: int = 10,
    n_draws: int = 1000,
    rng: int | np.random.Generator = 0,
) -> ChanceCalibration:
    """Calibration error that a perfectly calibrated model would show on as many cells.

    Each cell is made correct with the probability that its confidence claims; what
    :func:`expected_calibration_error` then measures is chance alone. A model whose error lies below the 95th
    percentile cannot be told from a perfectly calibrated one on these cells.

    Parameters
    ----------
    confidence
        Probability of each cell's predicted label. Cells with NaN are left out.
    n_bins
        Number of equal-width bins between 0 and 1.
    n_draws
        Number of draws.
    rng
        Seed or generator of the draws.

    Returns
    -------
    Mean and 95th percentile (`mean`, `p95`) over the draws; NaN without cells.
    """
    scores, _ = _scored(confidence, np.zeros(np.shape(confidence)))
    if not len(scores):
        return ChanceCalibration(float("nan"), float("nan"))
    generator = np.random.default_rng(rng)
    bins = _bin(scores, n_bins)
    claimed = np.bincount(bins, weights=scores, minlength=n_bins)
    errors = np.empty(n_draws)
    for draw in range(n_draws):
        hits = np.bincount(bins[generator.random(len(scores)) < scores], minlength=n_bins)
        errors[draw] = np.abs(hits - claimed).sum() / len(scores)
    return ChanceCalibration(float(errors.mean()), float(np.quantile(errors, 0.95)))


def paired(folds: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Compare two methods over the same folds.

    Parameters
    ----------
    folds
        Scores of the method, a row a fold and a column a score.
    reference
        Scores of the method to compare with, on the same folds.

    Returns
    -------
    A row a score with the means `mean` and `reference`, the mean `difference` (method minus reference), its `spread`
    (standard deviation over folds; NaN for a single fold), the number of folds in which the method scored `higher`,
    and `n_folds`.
    """
    if not folds.index.is_unique or set(folds.index) != set(reference.index):
        raise ValueError("The two tables must hold the same folds, each once, under the same names.")
    scores = [name for name in folds.columns if name in reference.columns]
    ours = folds[scores].astype(float)
    theirs = reference.loc[folds.index, scores].astype(float)
    difference = ours - theirs
    return pd.DataFrame(
        {
            "mean": ours.mean(),
            "reference": theirs.mean(),
            "difference": difference.mean(),
            "spread": difference.std(ddof=1),
            "higher": (difference > 0).sum(),
            "n_folds": len(folds),
        }
    )


def _prepare(
    y_true: ArrayLike, y_pred: ArrayLike, proba: pd.DataFrame | ArrayLike | None, labels: Sequence[str] | None
) -> tuple[NDArray[np.object_], NDArray[np.object_], pd.DataFrame | None]:
    """Labels as strings (None where missing) and probabilities under their names, labelled cells only."""
    if proba is not None and not isinstance(proba, pd.DataFrame):
        array = np.asarray(proba)
        if labels is None:
            raise ValueError("Name the columns of `proba`: pass `labels=`, or give `proba` as a DataFrame.")
        if array.ndim != 2 or array.shape[1] != len(labels):
            raise ValueError(f"`proba` has shape {array.shape}, but `labels` names {len(labels)} columns.")
        proba = pd.DataFrame(array, columns=list(labels), index=y_pred.index if isinstance(y_pred, pd.Series) else None)
    y_pred = _aligned(y_true, y_pred, "y_pred")
    proba = None if proba is None else _aligned(y_true, proba, "proba")
    truth = _strings(y_true)
    known = np.array([label is not None for label in truth], dtype=bool)
    if not known.any():
        raise ValueError("No cell has a true label, so there is nothing to compare with.")
    if proba is not None:
        proba = _checked(proba.loc[known] if known.all() else proba[known])
    return truth[known], _strings(y_pred)[known], proba


def _aligned(y_true: Any, other: Any, name: str) -> Any:
    """Bring ``other`` into the order of the cells of ``y_true``; a plain numbering names no cells."""
    named = all(
        isinstance(x, pd.Series | pd.DataFrame) and not isinstance(x.index, pd.RangeIndex) for x in (y_true, other)
    )
    if named and not y_true.index.equals(other.index):
        if not (y_true.index.is_unique and other.index.is_unique and y_true.index.isin(other.index).all()):
            raise ValueError(
                f"`{name}` does not name the same cells as `y_true`; give both the same index, or pass plain arrays."
            )
        return other.loc[y_true.index]
    if len(other) != len(y_true):
        raise ValueError(f"`{name}` has {len(other)} cells and `y_true` has {len(y_true)}.")
    return other


def _strings(labels: Any) -> NDArray[np.object_]:
    values = pd.Series(np.asarray(labels, dtype=object))
    return np.array([None if missing else str(x) for x, missing in zip(values, values.isna(), strict=True)], object)


def _order_of(labels: Any) -> list[str]:
    """Labels in the order of the categories where there are any, else of the alphabet."""
    categories = getattr(getattr(labels, "dtype", None), "categories", None)
    if categories is not None:
        return [str(label) for label in categories]
    return sorted({label for label in _strings(labels) if label is not None})


def _checked(proba: pd.DataFrame) -> pd.DataFrame:
    proba = proba.astype(np.float64).set_axis([str(label) for label in proba.columns], axis=1)
    if not proba.columns.is_unique:
        raise ValueError("Two columns of `proba` have the same name; every label needs one column.")
    scored = proba.to_numpy()[~proba.isna().any(axis=1)]
    # bf16 scores keep about three digits
    if (scored < 0).any() or (np.abs(scored.sum(axis=1) - 1) > 0.01).any():
        raise ValueError("Each row of `proba` must hold probabilities that sum to one (or NaN for a cell not scored).")
    return proba


def _by_label(
    truth: NDArray[np.object_], predicted: NDArray[np.object_], order: Sequence[str] | None = None
) -> pd.DataFrame:
    present = set(truth)
    rows = sorted(present) if order is None else [label for label in order if label in present]
    n = np.array([(truth == label).sum() for label in rows])
    guessed = np.array([(predicted == label).sum() for label in rows])
    hits = np.array([((truth == label) & (predicted == label)).sum() for label in rows])
    return pd.DataFrame(
        {
            "n": n,
            "precision": hits / np.maximum(guessed, 1),
            "recall": hits / n,
            "f1": 2 * hits / (n + guessed),
        },
        index=pd.Index(rows, name="label"),
    )


def _probability_scores(
    truth: NDArray[np.object_], proba: pd.DataFrame, *, n_bins: int, rng: int | np.random.Generator
) -> dict[str, float]:
    scored = ~proba.isna().any(axis=1).to_numpy()
    truth, values = truth[scored], proba.to_numpy()[scored]
    if not len(truth):
        return dict.fromkeys(("ece", "ece_chance", "ece_chance_p95", "brier", "log_loss"), float("nan"))
    # -1: the true label has no column, and no probability
    column = proba.columns.get_indexer(pd.Index(truth))
    of_truth = np.where(column >= 0, values[np.arange(len(truth)), column], 0.0)
    confidence, correct = values.max(axis=1), values.argmax(axis=1) == column
    chance = chance_calibration_error(confidence, n_bins=n_bins, rng=rng)
    smallest = np.finfo(np.float64).eps
    return {
        "ece": expected_calibration_error(confidence, correct, n_bins=n_bins),
        "ece_chance": chance.mean,
        "ece_chance_p95": chance.p95,
        "brier": float(((values**2).sum(axis=1) - 2 * of_truth + 1).mean()),
        "log_loss": float(-np.log(np.clip(of_truth, smallest, 1)).mean()),
    }


def _scored(confidence: ArrayLike, correct: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scores, hits = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if scores.shape != hits.shape:
        raise ValueError(f"`confidence` has shape {scores.shape} and `correct` has shape {hits.shape}.")
    known = ~np.isnan(scores)
    scores, hits = scores[known], hits[known]
    # float32 softmax can end a hair above one
    if ((scores < 0) | (scores > 1 + 1e-2)).any():
        raise ValueError("Confidences must lie between 0 and 1.")
    return np.minimum(scores, 1.0), hits


def _bin(scores: NDArray[np.float64], n_bins: int) -> NDArray[np.intp]:
    return np.digitize(scores, np.linspace(0, 1, n_bins + 1)[1:-1], right=True)
