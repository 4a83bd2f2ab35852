"""Output vectors of words whose shares are known, as a linear read-out of a model that does not change."""

from __future__ import annotations

import numpy as np
import torch

SIZE, RATE = 512, 2e-2
FLOOR = 1e-5
"""Least share that a word starts from."""


def fit_readout(
    states: np.ndarray,
    shares: np.ndarray,
    rows: np.ndarray,
    kinds: np.ndarray,
    *,
    pull: float,
    n_steps: int = 300,
    seed: int = 0,
) -> np.ndarray:
    """Fit output vectors to the shares that words should have.

    Multinomial logistic regression with soft targets, by Adam. It begins at the shortest vectors whose products with the mean
    state of each kind are the logarithms of the mean shares there, and is pulled back to them.

    Parameters
    ----------
    states
        What the model says (states × width).
    shares
        What words should have (targets × words), rows that sum to one.
    rows
        Row of ``shares`` that each state should give.
    kinds
        Kind of each state, from 0.
    pull
        Strength of the pull.
    n_steps
        Steps of the fit.
    seed
        Draws the states of a step.

    Returns
    -------
    Words × width.
    """
    present = np.unique(kinds)
    means = np.stack([states[kinds == kind].mean(axis=0) for kind in present]).astype(np.float64)
    logs = np.log(np.stack([shares[rows[kinds == kind]].mean(axis=0) for kind in present]) + FLOOR)
    start = torch.from_numpy(np.linalg.lstsq(means, logs, rcond=1e-6)[0].T).float()
    weights = start.clone().requires_grad_(True)
    x, y = torch.from_numpy(states).float(), torch.from_numpy(shares).float()
    optimizer = torch.optim.Adam([weights], lr=RATE)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=n_steps)
    rng = np.random.default_rng(seed)
    for _ in range(n_steps):
        some = rng.integers(len(states), size=SIZE)
        told = torch.log_softmax(x[some] @ weights.T, dim=1)
        loss = -(y[rows[some]] * told).sum(dim=1).mean() + pull * ((weights - start) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    return weights.detach().numpy()
