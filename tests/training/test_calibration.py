"""The temperature, on logits whose right one is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from sc_c2s.metrics import expected_calibration_error
from sc_c2s.training.calibration import fit_temperature


def simulate(temperature: float, *, n: int = 8000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Answers drawn from the logits, and log-probabilities that are too sure by this much."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, 5))
    answer = np.array([rng.choice(5, p=p) for p in softmax(logits, axis=1)])
    return log_softmax(temperature * logits, axis=1), answer


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_is_found(temperature) -> None:
    log_prob, answer = simulate(temperature)
    assert fit_temperature(log_prob, answer) == pytest.approx(temperature, rel=0.05)


def test_confidence_is_right_afterwards_and_labels_stay() -> None:
    log_prob, answer = simulate(3.0)
    scaled = softmax(log_prob / fit_temperature(log_prob, answer), axis=1)
    sure = softmax(log_prob, axis=1)
    np.testing.assert_array_equal(scaled.argmax(axis=1), sure.argmax(axis=1))
    right = scaled.argmax(axis=1) == answer

    def error(proba: np.ndarray) -> float:
        return expected_calibration_error(proba.max(axis=1), right)

    assert error(scaled) < 0.02 < 0.1 < error(sure)


def test_the_scale_of_the_scores_does_not_matter() -> None:
    """Log-probabilities of long answers do not add up to one."""
    log_prob, answer = simulate(2.0, n=500)
    shifted = log_prob - np.random.default_rng(1).exponential(30, size=(500, 1))
    assert fit_temperature(shifted, answer) == pytest.approx(fit_temperature(log_prob, answer), rel=1e-3)


@given(st.integers(0, 99), st.integers(1, 20))
def test_it_stays_within_its_bounds(seed, n) -> None:
    rng = np.random.default_rng(seed)
    log_prob = log_softmax(rng.normal(size=(n, 3)), axis=1)
    assert 0.2 <= fit_temperature(log_prob, log_prob.argmax(axis=1)) <= 0.3, "never wrong: as sure as it gets"
    assert 9.5 <= fit_temperature(log_prob, log_prob.argmin(axis=1)) <= 10, "always wrong: as unsure as it gets"


def test_no_cells_to_choose_on() -> None:
    assert fit_temperature(np.zeros((0, 3)), np.array([], dtype=int)) == 1.0
