"""Changes as words: there and back, and what they do to cells."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sc_c2s.sentences.changes import change_words, expected_expression, to_changes, to_shares

changes = arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 8)), elements=st.floats(-3, 3))


def test_words_of_two_genes() -> None:
    assert change_words(["ISG15", "B220%20(CD45R)"]) == [
        "+ISG15",
        "+B220%20(CD45R)",
        "-ISG15",
        "-B220%20(CD45R)",
        "=",
    ]


def test_shares_of_a_known_change() -> None:
    np.testing.assert_allclose(to_shares(np.array([[1.0, -0.5, 0.0]]), 2.0), [[0.5, 0, 0, 0, 0.25, 0, 0.25]])


def test_a_change_beyond_the_scale_leaves_nothing_unchanged() -> None:
    np.testing.assert_allclose(to_shares(np.array([[3.0, -1.0]]), 2.0), [[0.75, 0, 0, 0.25, 0]])


@given(changes)
def test_shares_sum_to_one_and_come_back(change: np.ndarray) -> None:
    scale = max(float(np.abs(change).sum(axis=1).max()), 1.0)
    shares = to_shares(change, scale)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (shares >= 0).all()
    np.testing.assert_allclose(to_changes(shares, scale), change, atol=1e-12)


@given(
    arrays(np.float64, (6, 4), elements=st.floats(0, 5)),
    arrays(np.float64, 4, elements=st.floats(-1, 3)),
)
def test_the_mean_changes_by_the_change_and_nothing_falls_below_zero(x: np.ndarray, change: np.ndarray) -> None:
    mean = x.mean(axis=0)
    change = np.maximum(change, -mean)  # no more can fall than there is
    after = expected_expression(x, np.tile(change, (6, 1)), mean)
    assert (after >= 0).all()
    np.testing.assert_allclose(after.mean(axis=0), mean + change, atol=1e-5)


def test_a_falling_gene_takes_its_share_of_every_cell() -> None:
    x = np.array([[0.0], [2.0], [4.0]])
    np.testing.assert_allclose(expected_expression(x, np.full((3, 1), -1.0), x.mean(axis=0)), x / 2)
