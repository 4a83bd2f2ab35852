"""One number that makes a model as sure as it is right."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax


def fit_temperature(log_prob: np.ndarray, answer: np.ndarray, *, bounds: tuple[float, float] = (0.2, 10.0)) -> float:
    """Choose the temperature that gives the true labels of validation cells the highest likelihood.

    Guo et al. (2017), *On Calibration of Modern Neural Networks*: log-probabilities are divided by one number before
    they are normalised, so predicted labels stay as they are.

    Parameters
    ----------
    log_prob
        Log-probabilities, cells × labels.
    answer
        Column of the true label of each cell.
    bounds
        Lowest and highest temperature.

    Returns
    -------
    The temperature; above 1 where the model was too sure.
    """
    if not len(answer):
        return 1.0

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(log_prob / np.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(len(answer)), answer].mean())

    return float(np.exp(minimize_scalar(loss, bounds=tuple(np.log(bounds)), method="bounded").x))
