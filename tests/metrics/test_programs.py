"""Gene programs in ranked lists and in changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sc_c2s.metrics import change_program_score, program_scores, sentence_program_score

words = st.lists(st.sampled_from("ABCDEF"), max_size=8)


def test_sentence_program_score_by_hand() -> None:
    # Of four places, weighing 1, 3/4, 1/2 and 1/4, genes of the program have the second and the fourth; two can get 7/4.
    assert sentence_program_score(list("xAyB"), ["A", "B"], 4) == pytest.approx((3 / 4 + 1 / 4) / (7 / 4))
    assert sentence_program_score(list("BAxy"), ["A", "B"], 4) == 1
    assert sentence_program_score(list("ABC"), "ABCDE", 3) == 1, "a program longer than the list"
    assert sentence_program_score([], ["A"], 4) == 0
    assert np.isnan(sentence_program_score(["A"], [], 4))
    with pytest.raises(ValueError, match="n=0 has to be 1 or more"):
        sentence_program_score(["A"], ["A"], 0)


def test_repeats_and_a_long_tail_score_nothing() -> None:
    once = sentence_program_score(list("Axyz"), ["A", "B"], 4)
    assert sentence_program_score(list("AAAA"), ["A", "B"], 4) == once
    assert sentence_program_score(list("AxyzB"), ["A", "B"], 4) == once
    assert sentence_program_score(list("AxBz"), ["A", "B"], 4) > once


@given(words, st.sets(st.sampled_from("ABCD"), min_size=1), st.integers(1, 8))
def test_sentence_program_score_is_bounded(some, program, n) -> None:
    assert 0 <= sentence_program_score(some, program, n) <= 1 + 1e-12
    assert sentence_program_score(sorted(program), program, n) == pytest.approx(1)
    assert sentence_program_score(some[:-1], program, n) <= sentence_program_score(some, program, n)


def test_change_program_score_is_program_scores() -> None:
    change = np.array([1.0, 3, 0, -4])
    assert change_program_score(change, list("abcd"), ["a", "b", "absent"]) == pytest.approx(2 - 0)
    expected = program_scores(change[None], list("abcd"), {"p": ["d"]}).loc[0, "p"]
    assert change_program_score(change, list("abcd"), ["d"]) == expected == -4
    assert np.isnan(change_program_score(change, list("abcd"), ["absent"]))
