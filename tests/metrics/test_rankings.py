"""Ranked words: known answers, scipy, and what must not pay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from sc_c2s.metrics import kendall_tau, rank_weighted_overlap, validity

TARGET = list("ABCDEFGHIJ")
N = len(TARGET)
words = st.lists(st.sampled_from("ABCDEF"), max_size=8)
depths = st.integers(1, 8)


@pytest.mark.parametrize("seed", range(5))
def test_kendall_tau_is_scipys_for_the_same_words(seed) -> None:
    order = np.random.default_rng(seed).permutation(N)
    expected = kendalltau(order, np.arange(N)).statistic
    assert kendall_tau([TARGET[i] for i in np.argsort(order)], TARGET, N) == pytest.approx(expected)


@pytest.mark.parametrize("fill", [False, True])
def test_words_that_a_list_does_not_have_are_tied_behind_it(fill) -> None:
    # The union is A B C D X; with X as a fourth word no place is empty, and filling changes nothing.
    expected = kendalltau([0, 1, 2, 4, 3], [0, 2, 1, 3, 4]).statistic
    assert kendall_tau(list("ABCX"), list("ACBD"), 4, fill=fill) == pytest.approx(expected)
    assert kendall_tau(list("AB"), list("ABCD"), 4) == pytest.approx(kendalltau([0, 1, 2, 2], [0, 1, 2, 3]).statistic)


def test_kendall_tau_where_the_formula_has_no_value() -> None:
    assert kendall_tau([], TARGET, N) == kendall_tau(TARGET, [], N) == 0
    assert kendall_tau(["A"], ["A"], 3) == 1
    assert kendall_tau(["A"], ["B"], 3) == -1
    with pytest.raises(ValueError, match="n=0 has to be 1 or more"):
        kendall_tau(TARGET, TARGET, 0)


def test_filled_places_are_wrong_words() -> None:
    """So stopping is never better than going on, and an empty answer is as bad as one without a right word."""
    for k in range(N):
        wrong = [*TARGET[:k], *(f"x{i}" for i in range(N - k))]
        assert kendall_tau(TARGET[:k], TARGET, N, fill=True) == pytest.approx(kendall_tau(wrong, TARGET, N))
    assert kendall_tau([], TARGET, N, fill=True) < -0.5
    # Without it, who is right five times and stops gets more than who is right seven times of ten.
    tries = [*"ABCDE", "x", "F", "y", "G", "z"]
    assert kendall_tau(TARGET[:5], TARGET, N) > kendall_tau(tries, TARGET, N)
    assert kendall_tau(TARGET[:5], TARGET, N, fill=True) < kendall_tau(tries, TARGET, N, fill=True)


def test_rank_weighted_overlap_by_hand() -> None:
    # Agreement at the depths 1 to 3: 0, 1, 2/3, with weights 1, 1/2, 1/4.
    assert rank_weighted_overlap(list("BAX"), list("ABC"), 3, p=0.5) == pytest.approx((1 / 2 + 1 / 6) / 1.75)
    # A target of two words: the best there is are 1, 1, 2/3.
    assert rank_weighted_overlap(list("AXB"), list("AB"), 3, p=0.5) == pytest.approx(
        (1 + 1 / 4 + 1 / 6) / (1 + 1 / 2 + 1 / 6)
    )
    assert rank_weighted_overlap(TARGET, [], N) == 0
    with pytest.raises(ValueError, match="p=1 has to be"):
        rank_weighted_overlap(TARGET, TARGET, N, p=1)


def test_most_weight_is_where_the_docstring_says() -> None:
    """A list that is right on its first 20 places of very many, in the limit (Webber et al., eq. 21)."""
    target = [str(i) for i in range(2000)]
    assert rank_weighted_overlap(target[:20], target, 2000) == pytest.approx(0.85, abs=0.005)


def test_early_places_weigh_more() -> None:
    swapped_first, swapped_last = list("BACDEFGHIJ"), list("ABCDEFGHJI")
    assert rank_weighted_overlap(swapped_first, TARGET, N) < rank_weighted_overlap(swapped_last, TARGET, N) < 1


def test_validity_by_hand() -> None:
    assert validity(TARGET, TARGET, N) == 1
    assert validity(list("AAB"), TARGET, 4) == 0.5
    assert validity(list("AAB"), TARGET, 4, repeats=True) == 0.75
    assert validity(list("ABxD"), set(TARGET), 4) == 0.75
    assert validity([*TARGET, *"abcdefghij"], [*TARGET, *"abcdefghij"], N) == 0.5, "words beyond n cost, known or not"
    assert validity([], TARGET, N) == 0


@given(words, words, depths, st.booleans())
@example(["A"], ["A"], 1, True)
def test_kendall_tau_is_bounded_and_even_handed(some, others, n, fill) -> None:
    value = kendall_tau(some, others, n, fill=fill)
    assert -1 - 1e-12 <= value <= 1 + 1e-12
    assert kendall_tau(some, others, n) == pytest.approx(kendall_tau(others, some, n))
    if others:
        assert kendall_tau(others, others, n) == pytest.approx(1)


@given(words, words, depths)
def test_rank_weighted_overlap_is_bounded_and_one_for_the_list_itself(some, others, n) -> None:
    assume(others)
    target = list(dict.fromkeys(others))
    value = rank_weighted_overlap(some, target, n)
    assert 0 <= value <= 1 + 1e-12
    assert rank_weighted_overlap(target, target, n) == pytest.approx(1)
    if some[: len(target)][:n] != target[:n]:
        assert value < 1 - 1e-9
    assert rank_weighted_overlap(some[:-1], target, n) <= value + 1e-12, "writing less never pays"


@given(words, depths, st.booleans())
def test_validity_is_one_only_for_what_was_asked_for(some, n, repeats) -> None:
    value = validity(some, "ABC", n, repeats=repeats)
    assert 0 <= value <= 1
    right = len(some) == n and set(some) <= set("ABC") and (repeats or len(set(some)) == n)
    assert (value == 1) == right
