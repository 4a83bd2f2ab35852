"""A linear read-out of known shares."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from sc_c2s.training.readout import fit_readout


def test_it_finds_shares_that_a_linear_model_can_give() -> None:
    rng = np.random.default_rng(0)
    states = np.hstack([rng.normal(size=(400, 4)), np.ones((400, 1))]).astype(np.float32)
    true = 0.5 * rng.normal(size=(7, 5))
    shares = softmax(states @ true.T, axis=1)
    kinds = np.arange(400) % 2
    found = fit_readout(states, shares, np.arange(400), kinds, pull=0.0)
    np.testing.assert_allclose(softmax(states @ found.T, axis=1), shares, atol=0.03)


def test_pulled_hard_it_stays_at_the_mean_of_each_kind() -> None:
    rng = np.random.default_rng(0)
    kinds = np.arange(300) % 2
    states = np.hstack([np.eye(2)[kinds], rng.normal(size=(300, 3))]).astype(np.float32)
    states[:, 2:] -= np.stack([states[kinds == k, 2:].mean(axis=0) for k in (0, 1)])[kinds]
    means = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    found = fit_readout(states, means, kinds, kinds, pull=1e3)
    for kind in (0, 1):
        state = states[kinds == kind].mean(axis=0)
        np.testing.assert_allclose(softmax(found @ state), means[kind], atol=1e-3)
