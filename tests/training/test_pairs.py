"""Control cells and their perturbed partners."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from sc_c2s.training.pairs import NONE, Pairs, match


@pytest.fixture
def pairs() -> Pairs:
    """Two contexts of two sub-kinds each; the perturbation adds 1 to gene 0, and 2 to gene 1 in the second context."""
    rng = np.random.default_rng(0)
    n = 80
    context = np.array(["a", "b"], dtype=object)[np.arange(n) % 2]
    perturbation = np.array(["ctrl", "x"], dtype=object)[(np.arange(n) // 2) % 2]
    kind = (np.arange(n) // 4) % 2
    x = rng.uniform(0, 0.1, size=(n, 6))
    x[:, 2] += 3 * kind
    x[:, 3] += 3 * (1 - kind)
    x[perturbation == "x", 0] += 1
    x[(perturbation == "x") & (context == "b"), 1] += 2
    return Pairs(sparse.csr_matrix(x), context, perturbation, "ctrl", 3)


def test_shifts_are_differences_of_means(pairs: Pairs) -> None:
    assert pairs.contexts == ["a", "b"]
    assert pairs.perturbations == ["x"]
    np.testing.assert_allclose(pairs.shift("a", "x")[:2], [1, 0], atol=0.05)
    np.testing.assert_allclose(pairs.shift("b", "x")[:2], [1, 2], atol=0.05)
    x = pairs.log.toarray()
    where = (pairs.context == "b") & (pairs.perturbation == "ctrl")
    np.testing.assert_allclose(pairs.control_means[1], x[where].mean(axis=0))


def test_cells_that_are_not_looked_at_teach_nothing(pairs: Pairs) -> None:
    left = pairs.perturbation.copy()
    left[(pairs.context == "b") & (left == "x")] = NONE
    seen = Pairs(pairs.log, pairs.context, left, "ctrl", 3)
    assert seen.known == [("a", "x")]
    assert np.isnan(seen.shift("b", "x")).all()


@pytest.mark.parametrize("pairing", ["nearest", "ot"])
def test_partners_are_of_the_same_kind(pairs: Pairs, pairing: str) -> None:
    matched = match(pairs, "a", "x", pairing=pairing, rng=np.random.default_rng(0))
    x = pairs.log.toarray()
    assert (pairs.context[matched.partners] == "a").all()
    assert (pairs.perturbation[matched.partners] == "x").all()
    np.testing.assert_array_equal(x[matched.controls, 2] > 1, x[matched.partners, 2] > 1)


def test_optimal_transport_uses_every_partner_alike(pairs: Pairs) -> None:
    matched = match(pairs, "a", "x", pairing="ot", rng=np.random.default_rng(0))
    assert len(set(matched.partners)) == len(matched.partners) == 20


def test_the_change_of_a_cell_is_that_of_its_like(pairs: Pairs) -> None:
    matched = match(pairs, "b", "x", pairing="ot", rng=np.random.default_rng(0))
    change = matched.change(pairs.log, 0)
    np.testing.assert_allclose(change[:4], [1, 2, 0, 0], atol=0.1)
