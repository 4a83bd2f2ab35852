"""What the restrictions leave to draw from, and the numbers that are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sc_c2s.engine.sampling import Sampling, uniforms

PROBABILITY = np.array([0.4, 0.3, 0.15, 0.1, 0.05])


def drawn(sampling: Sampling, n: int = 2000) -> np.ndarray:
    """Share of each column over evenly spaced quantiles."""
    order = np.array([3, 0, 4, 1, 2])  # columns are not in the order of their probability
    log_prob = torch.from_numpy(np.log(PROBABILITY[order])).expand(n, -1)
    column = sampling.choose(log_prob, (np.arange(n) + 0.5) / n).numpy()
    return np.bincount(order[column], minlength=5) / n


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), PROBABILITY),
        (Sampling(temperature=0), [1, 0, 0, 0, 0]),
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
    np.testing.assert_allclose(drawn(sampling), expected, atol=1e-3)


def test_never_draws_what_is_not_allowed() -> None:
    log_prob = torch.tensor([[-torch.inf, 0.0, -torch.inf], [-30.0, -torch.inf, -torch.inf]])
    for u in (0.0, 0.5, np.nextafter(1, 0)):
        assert Sampling().choose(log_prob, np.full(2, u)).tolist() == [1, 0]


def test_numbers_depend_on_seed_and_step_alone() -> None:
    seeds = np.random.default_rng(0).integers(2**63, size=300).astype(np.uint64)
    many = np.stack([uniforms(seeds, np.full(300, step)) for step in range(50)])
    assert many[7, 11] == uniforms(seeds[[11]], np.array([7]))[0]
    assert (many >= 0).all() and (many < 1).all()
    assert len(np.unique(many)) == many.size
    assert abs(many.mean() - 0.5) < 0.01
    np.testing.assert_allclose(np.histogram(many, bins=10, range=(0, 1))[0] / many.size, 0.1, atol=0.01)
    assert abs(np.corrcoef(many[:-1].ravel(), many[1:].ravel())[0, 1]) < 0.03
    near = uniforms(np.arange(300, dtype=np.uint64), np.zeros(300, dtype=int))
    assert abs(np.corrcoef(near[:-1], near[1:])[0, 1]) < 0.15, "seeds that follow each other draw unlike numbers"


@pytest.mark.parametrize(
    ("how", "name"), [({"temperature": -1}, "temperature"), ({"top_k": 0}, "top_k"), ({"top_p": 0}, "top_p")]
)
def test_settings_that_make_no_sense(how, name) -> None:
    with pytest.raises(ValueError, match=name):
        Sampling(**how)
