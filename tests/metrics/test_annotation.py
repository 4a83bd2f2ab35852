from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from sc_c2s import metrics

TRUTH = ["a", "a", "a", "a", "b", "b", "c", None]
GUESS = ["a", "a", "b", "unknown", "b", "a", None, "c"]


def test_scores_by_hand() -> None:
    # a: 2 of 4 found, guessed 3 times, 2 right -> F1 4/7. b: 1 of 2, guessed twice -> F1 2/4. c: none -> 0.
    scores = metrics.annotation(TRUTH, GUESS)
    assert scores == {
        "accuracy": pytest.approx(3 / 7),
        "balanced_accuracy": pytest.approx((2 / 4 + 1 / 2 + 0) / 3),
        "macro_f1": pytest.approx((4 / 7 + 1 / 2 + 0) / 3),
        "n": 7,
        "n_missing": 1,
    }


def test_probability_scores_by_hand() -> None:
    proba = pd.DataFrame({"a": [0.8, 0.6, 0.1], "b": [0.2, 0.4, 0.9]})
    scores = metrics.annotation(["a", "b", "b"], ["a", "a", "b"], proba=proba)
    # bins (.7, .8], (.5, .6], (.8, .9]: gaps .2, .6, .1 with a cell each
    assert scores["ece"] == pytest.approx((0.2 + 0.6 + 0.1) / 3)
    assert scores["brier"] == pytest.approx((2 * 0.2**2 + 2 * 0.6**2 + 2 * 0.1**2) / 3)
    assert scores["log_loss"] == pytest.approx(-(np.log(0.8) + np.log(0.4) + np.log(0.9)) / 3)


def test_true_label_without_column_has_probability_zero() -> None:
    scores = metrics.annotation(["z"], ["a"], proba=[[0.7, 0.3]], labels=["a", "b"])
    assert scores["brier"] == pytest.approx(0.7**2 + 0.3**2 + 1)
    assert scores["log_loss"] == pytest.approx(-np.log(np.finfo(float).eps))
    assert scores["ece"] == pytest.approx(0.7)


def test_cells_without_probabilities_count_as_wrong_but_not_in_calibration() -> None:
    proba = np.array([[0.9, 0.1], [np.nan, np.nan]])
    scores = metrics.annotation(["a", "a"], ["a", None], proba=proba, labels=["a", "b"])
    assert scores["accuracy"] == 0.5
    assert scores["n_missing"] == 1
    assert scores["ece"] == pytest.approx(0.1)


def test_calibration_is_that_of_the_top_label_where_the_label_is_unknown() -> None:
    scores = metrics.annotation(["a", "b"], ["unknown", "b"], proba=[[0.6, 0.4], [0.2, 0.8]], labels=["a", "b"])
    assert scores["accuracy"] == 0.5
    assert scores["ece"] == pytest.approx((0.4 + 0.2) / 2)


def test_no_probabilities_at_all_give_nan() -> None:
    scores = metrics.annotation(["a"], [None], proba=[[np.nan, np.nan]], labels=["a", "b"])
    assert np.isnan([scores[name] for name in ("ece", "ece_chance", "brier", "log_loss")]).all()


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from("abcde"), st.floats(-3, 3), st.floats(-3, 3)),
        min_size=1,
        max_size=60,
    )
)
def test_same_as_scikit_learn(cells: list[tuple[str, str, float, float]]) -> None:
    truth, guess = np.array([c[0] for c in cells]), np.array([c[1] for c in cells])
    logits = np.array([[c[2], c[3], 0.0, 1.0] for c in cells])
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = metrics.annotation(truth, guess, proba=proba, labels=list("abcd"))
    present = np.unique(truth)
    assert scores["accuracy"] == pytest.approx(sk.accuracy_score(truth, guess))
    assert scores["macro_f1"] == pytest.approx(
        sk.f1_score(truth, guess, labels=present, average="macro", zero_division=0)
    )
    assert scores["balanced_accuracy"] == pytest.approx(
        sk.recall_score(truth, guess, labels=present, average="macro", zero_division=0)
    )
    assert scores["log_loss"] == pytest.approx(sk.log_loss(truth, proba, labels=list("abcd")))
    one_hot = truth[:, None] == np.array(list("abcd"))
    assert scores["brier"] == pytest.approx(((proba - one_hot) ** 2).sum(axis=1).mean())


def test_scores_by_label() -> None:
    truth = pd.Series(pd.Categorical(TRUTH, categories=["c", "b", "a"]))
    table = metrics.annotation_by_label(truth, GUESS)
    assert table.index.tolist() == ["c", "b", "a"]
    assert table["n"].tolist() == [1, 2, 4]
    assert table["recall"].tolist() == [0, 1 / 2, 2 / 4]
    assert table["precision"].tolist() == pytest.approx([0, 1 / 2, 2 / 3])
    assert table["f1"].tolist() == pytest.approx([0, 1 / 2, 4 / 7])


def test_series_are_matched_by_cell_name() -> None:
    truth = pd.Series(["a", "b", "a"], index=["x", "y", "z"])
    guess = pd.Series(["a", "a", "b"], index=["z", "x", "y"])
    proba = pd.DataFrame({"a": [1.0, 1, 0], "b": [0.0, 0, 1]}, index=guess.index)
    scores = metrics.annotation(truth, guess, proba=proba)
    assert scores["accuracy"] == 1
    assert scores["log_loss"] == pytest.approx(0)
    unnamed = proba.reset_index(drop=True)
    assert metrics.annotation(truth, ["a", "b", "a"], proba=unnamed)["log_loss"] > 1
    with pytest.raises(ValueError, match="same cells"):
        metrics.annotation(truth, guess.rename({"z": "other"}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y_true": ["a"], "y_pred": ["a", "b"]}, "2 cells"),
        ({"y_true": [None], "y_pred": ["a"]}, "No cell has a true label"),
        ({"y_true": ["a"], "y_pred": ["a"], "proba": [[0.5, 0.5]]}, "labels="),
        ({"y_true": ["a"], "y_pred": ["a"], "proba": [[0.5, 0.5]], "labels": ["a"]}, "names 1 columns"),
        ({"y_true": ["a"], "y_pred": ["a"], "proba": [[0.5, 0.7]], "labels": ["a", "b"]}, "sum to one"),
        ({"y_true": ["a"], "y_pred": ["a"], "proba": [[0.5, 0.5]], "labels": ["a", "a"]}, "same name"),
    ],
)
def test_bad_input(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.annotation(**arguments)


def test_confusion_keeps_every_labelled_cell() -> None:
    table = metrics.confusion(TRUTH, GUESS)
    assert table.index.tolist() == ["a", "b", "c"]
    assert table.columns.tolist() == ["a", "b", "c", "unknown", "(none)"]
    assert table.to_numpy().tolist() == [[2, 1, 0, 1, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 1]]


def test_confusion_order() -> None:
    truth = pd.Categorical(["b", "a", "b"], categories=["never", "b", "a"])
    assert metrics.confusion(truth, ["a", "a", "b"]).index.tolist() == ["b", "a"]
    listed = metrics.confusion(truth, ["a", "a", "x"], labels=["never", "a"])
    assert listed.index.tolist() == ["never", "a", "b"]
    assert listed.columns.tolist() == ["never", "a", "b", "x"]
    assert listed.to_numpy().sum() == 3


def test_confusion_same_as_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.choice(list("abcd"), 200), rng.choice(list("abcd"), 200)
    np.testing.assert_array_equal(metrics.confusion(truth, guess), sk.confusion_matrix(truth, guess))


def test_reliability_by_hand() -> None:
    table = metrics.reliability([0.0, 0.05, 0.1, 0.11, 0.95, 1.0, np.nan], [0, 1, 1, 0, 1, 1, 0])
    assert table["n"].tolist() == [3, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert table["confidence"].dropna().tolist() == pytest.approx([0.05, 0.11, 0.975])
    assert table["accuracy"].dropna().tolist() == pytest.approx([2 / 3, 0, 1])
    assert table["low"].tolist() == pytest.approx(np.arange(10) / 10)
    assert table["high"].tolist() == pytest.approx(np.arange(1, 11) / 10)


def test_calibration_error_by_hand() -> None:
    # ten cells at 0.75 of which 5 are right, thirty at 0.95 of which all are
    confidence = np.repeat([0.75, 0.95], [10, 30])
    correct = np.repeat([1, 0, 1], [5, 5, 30])
    assert metrics.expected_calibration_error(confidence, correct) == pytest.approx((10 * 0.25 + 30 * 0.05) / 40)
    assert metrics.expected_calibration_error(confidence, correct, n_bins=1) == pytest.approx(0.9 - 35 / 40)
    assert np.isnan(metrics.expected_calibration_error([], []))


def test_chance_calibration_error_has_the_binomial_mean() -> None:
    # one bin, n cells at p: the error is |Binomial(n, p) / n - p|, whose mean is known exactly
    from scipy.stats import binom

    n, p = 50, 0.85
    k = np.arange(n + 1)
    exact = float((np.abs(k / n - p) * binom.pmf(k, n, p)).sum())
    mean, p95 = metrics.chance_calibration_error(np.full(n, p), n_draws=20_000)
    assert mean == pytest.approx(exact, rel=0.02)
    errors, weights = np.unique(np.round(np.abs(k / n - p), 9), return_inverse=True)
    cumulative = np.cumsum(np.bincount(weights, weights=binom.pmf(k, n, p)))
    assert p95 == pytest.approx(errors[np.searchsorted(cumulative, 0.95)])


def test_chance_calibration_error_is_seeded_and_falls_with_size() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.3, 1, 400)
    first = metrics.chance_calibration_error(confidence, rng=3)
    assert first == metrics.chance_calibration_error(confidence, rng=3)
    assert first != metrics.chance_calibration_error(confidence, rng=4)
    many = metrics.chance_calibration_error(np.tile(confidence, 16), rng=3)
    assert many.mean == pytest.approx(first.mean / 4, rel=0.15)
    assert metrics.chance_calibration_error([1.0, 1.0]) == (0, 0)


def test_calibrated_model_falls_below_the_95th_percentile_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.3, 1, 300)
    p95 = metrics.chance_calibration_error(confidence).p95
    below = [metrics.expected_calibration_error(confidence, rng.random(300) < confidence) <= p95 for _ in range(1000)]
    assert 0.92 < np.mean(below) < 0.98


def test_table_of_methods() -> None:
    proba = pd.DataFrame({"a": [0.8, 0.4], "b": [0.2, 0.6]})
    table = metrics.annotation_table({"good": (["a", "b"], proba), "plain": (["a", "a"], None)}, ["a", "b"])
    assert table.index.tolist() == ["good", "plain"]
    assert table["accuracy"].tolist() == [1, 0.5]
    assert table.loc["good", "brier"] == pytest.approx((2 * 0.2**2 + 2 * 0.4**2) / 2)
    assert table.loc["plain", ["ece", "brier"]].isna().all()
    assert pd.api.types.is_integer_dtype(table["n"])


def test_paired_folds() -> None:
    ours = pd.DataFrame({"accuracy": [0.9, 0.8, 0.7], "ece": [0.1, 0.1, 0.1]}, index=["f1", "f2", "f3"])
    theirs = pd.DataFrame({"accuracy": [0.7, 0.7, 0.7]}, index=["f3", "f1", "f2"])
    row = metrics.paired(ours, theirs).loc["accuracy"]
    assert row["mean"] == pytest.approx(0.8)
    assert row["reference"] == pytest.approx(0.7)
    assert row["difference"] == pytest.approx(0.1)
    assert row["spread"] == pytest.approx(0.1)
    assert (row["higher"], row["n_folds"]) == (2, 3)
    assert "ece" not in metrics.paired(ours, theirs).index
    with pytest.raises(ValueError, match="same folds"):
        metrics.paired(ours, theirs.iloc[:2])
