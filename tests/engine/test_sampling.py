"""What the restrictions leave to draw from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sc_c2s.engine.sampling import Sampling

PROBABILITY = np.array([0.4, 0.3, 0.15, 0.1, 0.05])


def shares(sampling: Sampling) -> np.ndarray:
    """Share of each column among what may be drawn."""
    order = np.array([3, 0, 4, 1, 2])  # columns are not in the order of their probability
    weight = sampling.weights(torch.from_numpy(np.log(PROBABILITY[order]))[None])[0].numpy()
    return (weight / weight.sum())[np.argsort(order)]


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), PROBABILITY),
        (Sampling(temperature=1e-3), [1, 0, 0, 0, 0]),
        (Sampling(temperature=0.5), PROBABILITY**2 / (PROBABILITY**2).sum()),
        (Sampling(top_k=2), [4 / 7, 3 / 7, 0, 0, 0]),
        (Sampling(top_k=50), PROBABILITY),
        (Sampling(top_p=0.6), [4 / 7, 3 / 7, 0, 0, 0]),
        (Sampling(top_p=0.3), [1, 0, 0, 0, 0]),
        (Sampling(min_p=0.3), [0.4 / 0.85, 0.3 / 0.85, 0.15 / 0.85, 0, 0]),
        (Sampling(top_k=3, top_p=0.5), [4 / 7, 3 / 7, 0, 0, 0]),
    ],
)
def test_known_shares(sampling, expected) -> None:
    np.testing.assert_allclose(shares(sampling), expected, atol=1e-6)


def test_what_is_not_allowed_weighs_nothing() -> None:
    log_prob = torch.tensor([[-torch.inf, 0.0, -torch.inf], [-30.0, -torch.inf, -torch.inf]])
    for sampling in (Sampling(), Sampling(temperature=3, top_k=2, top_p=0.9, min_p=0.1)):
        assert (sampling.weights(log_prob) > 0).tolist() == [[False, True, False], [True, False, False]]


@pytest.mark.parametrize(
    ("how", "name"), [({"temperature": -1}, "temperature"), ({"top_k": 0}, "top_k"), ({"top_p": 0}, "top_p")]
)
def test_settings_that_make_no_sense(how, name) -> None:
    with pytest.raises(ValueError, match=name):
        Sampling(**how)
