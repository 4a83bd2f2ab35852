"""The tree of answers and the probabilities made of its scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sc_c2s.engine import AnswerTree, probabilities

token_paths = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple), min_size=1, max_size=8)


def test_one_token_answers_need_no_nodes() -> None:
    tree = AnswerTree.build([(5,), (7,), (9,)])
    assert tree.n_nodes == tree.depth == 0
    np.testing.assert_array_equal(tree.rows, [[0], [0], [0]])
    np.testing.assert_array_equal(tree.ids, [[5], [7], [9]])


def test_shared_tokens_are_read_once() -> None:
    tree = AnswerTree.build([(1, 2, 3), (1, 2, 4), (1, 5), (6,)])
    np.testing.assert_array_equal(tree.tokens, [1, 2])
    np.testing.assert_array_equal(tree.depths, [1, 2])
    np.testing.assert_array_equal(tree.visible, [[True, False], [True, True]])
    np.testing.assert_array_equal(tree.rows, [[0, 1, 2], [0, 1, 2], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(tree.used.sum(axis=1), [3, 3, 2, 1])


def test_branches_do_not_see_each_other() -> None:
    tree = AnswerTree.build([(1, 2), (3, 4)])
    np.testing.assert_array_equal(tree.visible, np.eye(2, dtype=bool))


def test_end_token_only_where_an_answer_begins_with_another() -> None:
    assert AnswerTree.build([(1, 2), (1, 3)], end=9).answers == ((1, 2), (1, 3))
    assert AnswerTree.build([(1,), (1, 3)], end=9).answers == ((1, 9), (1, 3, 9))


def test_equal_answers_need_no_end_token() -> None:
    tree = AnswerTree.build([(1, 2), (1, 2)])
    np.testing.assert_array_equal(tree.rows[0], tree.rows[1])


def test_what_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="without a single token"):
        AnswerTree.build([(1,), ()])
    with pytest.raises(ValueError, match="no end token to tell them apart"):
        AnswerTree.build([(1,), (1, 2)])


@given(paths=token_paths)
def test_every_node_sees_just_its_own_way(paths: list[tuple[int, ...]]) -> None:
    tree = AnswerTree.build(paths, end=9)
    for node in range(tree.n_nodes):
        seen = np.flatnonzero(tree.visible[node])
        np.testing.assert_array_equal(np.sort(tree.depths[seen]), np.arange(1, tree.depths[node] + 1))
    for path, rows, ids, used in zip(tree.answers, tree.rows, tree.ids, tree.used, strict=True):
        assert tuple(ids[used]) == path
        assert rows[0] == 0
        np.testing.assert_array_equal(tree.tokens[rows[used][1:] - 1], path[:-1])
    assert len({tuple(tree.tokens[v]) for v in tree.visible}) == tree.n_nodes


@given(
    scores=arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.floats(-1e4, 0)),
    temperature=st.floats(0.05, 20),
)
def test_probabilities_sum_to_one(scores: np.ndarray, temperature: float) -> None:
    proba = probabilities(scores, temperature=temperature)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    best = scores.argmax(axis=1)
    np.testing.assert_allclose(proba[np.arange(len(proba)), best], proba.max(axis=1))


def test_known_probabilities() -> None:
    np.testing.assert_allclose(probabilities(np.log([[0.2, 0.6]])), [[0.25, 0.75]])
    np.testing.assert_allclose(probabilities(np.log([[0.1, 0.9]]), temperature=2), [[0.25, 0.75]])


def test_views_are_averaged_after_normalising() -> None:
    views = np.log([[[0.5, 0.5]], [[0.01, 0.04]]])
    odds = np.sqrt(1 * 4)
    np.testing.assert_allclose(probabilities(views), [[1 / (1 + odds), odds / (1 + odds)]])


def test_temperature_above_zero() -> None:
    with pytest.raises(ValueError, match="above zero"):
        probabilities(np.zeros((1, 2)), temperature=0)
