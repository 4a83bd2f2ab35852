"""Statistics of a screen, against answers that can be counted by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from sc_c2s.metrics.screen import share_also_called, split_effects


def exhaustive(values: np.ndarray, n_a: int) -> np.ndarray:
    """Splits of all ways to choose the cells of A."""
    cells = range(len(values))
    return np.array(
        [values[list(a)].mean() - np.delete(values, list(a)).mean() for a in combinations(cells, n_a)], dtype=float
    )


def test_effects_and_split() -> None:
    found = split_effects([[1.0, 0], [3, 0], [5, 4], [5, 6], [5, 2]], [True, True, False, False, False])
    np.testing.assert_allclose(found.effect_a, [2, 0])
    np.testing.assert_allclose(found.effect_b, [5, 4])
    np.testing.assert_allclose(found.split, [-3, -4])


def test_p_values_are_the_share_of_all_exchanges() -> None:
    values = np.random.default_rng(1).normal(size=(8, 3)) + np.outer([1, 1, 1, 0, 0, 0, 0, 0], [0, 1, 5])
    in_a = np.arange(8) < 3
    n = 20_000
    found = split_effects(values, in_a, n_permutations=n)
    for i in range(3):
        null = exhaustive(values[:, i], 3)
        expected = (np.abs(null) >= abs(found.split[i]) - 1e-9).mean()
        assert found.p_value[i] == pytest.approx(expected, abs=4 * np.sqrt(expected / n))
        # The scale is that of all exchanges, not of those that were drawn.
        assert found.split_z[i] == pytest.approx(found.split[i] / null.std())


def test_the_most_extreme_exchange_is_as_rare_as_it_is() -> None:
    """Three against three: of 20 exchanges two split the cells as much, the true one and its mirror image."""
    values = np.array([[10.0], [11], [12], [0], [1], [2]])
    found = split_effects(values, np.arange(6) < 3, n_permutations=20_000)
    assert found.p_value[0] == pytest.approx(0.1, abs=0.01)
    mirrored = split_effects(-values, np.arange(6) < 3, n_permutations=20_000)
    assert mirrored.p_value[0] == found.p_value[0]
    assert mirrored.split[0] == -found.split[0]


def test_no_p_value_is_zero() -> None:
    values = np.concatenate([np.ones(50), np.zeros(50)])[:, None]
    found = split_effects(values, values[:, 0] > 0, n_permutations=99)
    assert found.p_value[0] == 1 / 100
    # Sides that do not overlap at all: z is as large as it can be.
    assert found.split_z[0] == pytest.approx(np.sqrt(99))


@pytest.mark.parametrize("constant", [0.0, 0.1, -1 / 3])
def test_cells_that_are_all_alike_split_nothing(constant) -> None:
    """A constant leaves rounding behind, of which no p-value may be made."""
    found = split_effects(np.full((11, 1), constant), np.arange(11) < 4)
    assert found.p_value[0] == 1
    assert found.split[0] == pytest.approx(0, abs=1e-12)
    assert np.isnan(found.split_z[0])


def test_p_values_of_noise_are_uniform() -> None:
    values = np.random.default_rng(0).normal(size=(30, 400))
    p = split_effects(values, np.arange(30) < 12, n_permutations=199).p_value
    np.testing.assert_allclose(np.quantile(p, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.08)
    # The same candidate twice has the same p-value: exchanges are the same for all.
    twice = split_effects(values[:, [3, 3]], np.arange(30) < 12, n_permutations=199).p_value
    assert twice[0] == twice[1] == p[3]


def test_benjamini_hochberg_over_the_candidates() -> None:
    values = np.random.default_rng(2).normal(size=(40, 6)) + np.outer(np.arange(40) < 20, [0, 0, 0, 0.5, 1, 2])
    found = split_effects(values, np.arange(40) < 20)
    p = np.sort(found.p_value)
    expected = np.minimum.accumulate((p * 6 / np.arange(1, 7))[::-1])[::-1]
    np.testing.assert_allclose(np.sort(found.p_adj), np.minimum(expected, 1))
    np.testing.assert_allclose(found.p_adj, false_discovery_control(found.p_value))


def test_the_seed_decides_and_blocks_do_not_matter() -> None:
    values, in_a = np.random.default_rng(3).normal(size=(20, 2)), np.arange(20) < 10
    one, same, other = (split_effects(values, in_a, n_permutations=1500, rng=seed).p_value for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    np.testing.assert_allclose(one, other, atol=0.06)


@pytest.mark.parametrize(
    ("values", "in_a", "options", "message"),
    [
        (np.ones((3, 2)), [True, False], {}, r"shape \(3, 2\) for \(2,\) cells"),
        (np.ones((2, 2)), [True, True], {}, "on one side"),
        (np.ones((2, 2)), [True, False], {"n_permutations": 0}, "n_permutations=0"),
    ],
)
def test_bad_input(values, in_a, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        split_effects(values, in_a, **options)


@pytest.mark.parametrize(
    ("split", "hits", "other", "expected"),
    [
        # As many calls as hits, those of the largest splits.
        ([3, 2, 1, 0.5], [1, 1, 0, 0], [3, 2, 1, 0.5], 1.0),
        ([3, 2, 1, 0.5], [1, 1, 0, 0], [0.5, 1, 2, 3], 0.0),
        ([3, 2, 1, 0.5], [1, 1, 0, 0], [9, 1, 2, 0.5], 0.5),
        # The other way is no agreement, and takes no call from the others.
        ([3, -2, 1], [1, 1, 0], [1, 9, 0.5], 0.5),
        ([3, -2, 1], [1, 0, 0], [1, 9, 0.5], 1.0),
        # No split, or an unknown one, is never called, also where calls are left.
        ([3, 2, 1], [1, 1, 1], [0, np.nan, 4], 1 / 3),
        ([3, 2], [1, 1], [np.nan, np.nan], 0.0),
        # Size does not matter but for the order.
        ([-3, -2, 1], [1, 1, 0], [-0.001, -0.002, 0.0005], 1.0),
    ],
)
def test_hits_that_another_method_shares(split, hits, other, expected) -> None:
    assert share_also_called(split, np.array(hits, dtype=bool), other) == pytest.approx(expected)


def test_without_hits_there_is_nothing_to_share() -> None:
    assert np.isnan(share_also_called([1.0, 2], [False, False], [1.0, 2]))
    with pytest.raises(ValueError, match=r"\(1,\) splits of \(2,\) candidates"):
        share_also_called([1.0, 2], [True, False], [1.0])
