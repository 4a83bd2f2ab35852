"""Rows and their order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from sc_c2s.training.augment import NONE, Augmenter
from sc_c2s.training.examples import CellsToWrite, Examples, interleave, schedule

settings = {
    "lengths": st.lists(st.integers(0, 30), min_size=1, max_size=80).map(np.array),
    "n_epochs": st.integers(1, 5),
    "batch_size": st.integers(1, 12),
}


@given(**settings, seed=st.integers(0, 99))
def test_every_cell_once_an_epoch(lengths, n_epochs, batch_size, seed) -> None:
    order = schedule(lengths, n_epochs=n_epochs, batch_size=batch_size, rng=np.random.default_rng(seed))
    assert len(order) % batch_size == 0
    assert len(order) >= batch_size
    shown = np.bincount(order, minlength=len(lengths))
    if n_epochs * len(lengths) >= batch_size:
        assert n_epochs * len(lengths) - len(order) in range(batch_size), "what does not fill a batch is left out"
        assert shown.max() <= n_epochs
        assert shown.min() >= n_epochs - 1 or batch_size > len(lengths)
    else:
        assert shown.max() - shown.min() <= 1, "one batch, filled by showing cells again"


@given(**settings)
def test_the_same_seed_gives_the_same_order(lengths, n_epochs, batch_size) -> None:
    first, second = (
        schedule(lengths, n_epochs=n_epochs, batch_size=batch_size, rng=np.random.default_rng(4)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def padding(lengths: np.ndarray, order: np.ndarray, batch_size: int) -> int:
    batches = lengths[order].reshape(-1, batch_size)
    return int((batches.max(axis=1, keepdims=True) - batches).sum())


def test_batches_of_like_length_hold_little_padding() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 400, size=500)
    order = schedule(lengths, n_epochs=3, batch_size=10, rng=rng)
    assert padding(lengths, order, 10) < padding(lengths, rng.permutation(order), 10) / 5


def test_short_cells_do_not_all_come_first() -> None:
    lengths = np.arange(800)
    order = schedule(lengths, n_epochs=1, batch_size=10, rng=np.random.default_rng(0))
    means = lengths[order].reshape(-1, 10).mean(axis=1)
    assert abs(np.corrcoef(means, np.arange(80))[0, 1]) < 0.4


def test_epochs_are_drawn_anew() -> None:
    order = schedule(np.ones(64, dtype=int), n_epochs=2, batch_size=64, rng=np.random.default_rng(0))
    assert sorted(order[:64]) == sorted(order[64:]) == list(range(64))
    assert list(order[:64]) != list(order[64:])


def test_rows() -> None:
    x = sparse.csr_matrix(np.array([[1, 3, 2, 0], [0, 0, 5, 7]], dtype=np.float32))
    words = np.array(["CD3D", "B220%20(CD45R)", "LYZ", "NKG7"], dtype=object)
    augmenter = Augmenter(x, np.array([0, 1]), NONE, seed=0)
    examples = Examples(augmenter, words, [" T", " Mono"], lambda sentence: f"<{sentence}>", n_genes=2)
    assert examples.row(0, 0) == ("<B220%20(CD45R) LYZ>", " T")
    assert examples.row(1, 5) == ("<NKG7 LYZ>", " Mono")
    whole = Examples(augmenter, words, [" T", " Mono"], str, n_genes=None)
    assert whole.row(0, 0)[0] == "B220%20(CD45R) LYZ CD3D"


def test_cells_to_write() -> None:
    x = sparse.csr_matrix(np.array([[1, 3, 2, 0], [0, 0, 5, 7]], dtype=np.float32))
    words = np.array(["CD3D", "B220%20(CD45R)", "LYZ", "NKG7"], dtype=object)
    augmenter = Augmenter(x, np.zeros(2, dtype=int), NONE, seed=0)
    rows = CellsToWrite(augmenter, words, ["a T :", "a Mono :"], lambda sentence: f" {sentence}", n_genes=2)
    assert rows.row(0, 0) == ("a T :", " B220%20(CD45R) LYZ")
    assert rows.row(1, 5) == ("a Mono :", " NKG7 LYZ")
    assert rows.lengths.tolist() == [3, 2]


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), batch_size=st.integers(1, 5), seed=st.integers(0, 99))
def test_batches_of_tasks_are_mixed_whole(sizes, batch_size, seed) -> None:
    orders = [np.arange(n * batch_size) + 100 * task for task, n in enumerate(sizes)]
    mixed = interleave(orders, batch_size=batch_size, rng=np.random.default_rng(seed))
    tasks = mixed[:, 0].reshape(-1, batch_size)
    assert (tasks == tasks[:, :1]).all()
    for task, order in enumerate(orders):
        np.testing.assert_array_equal(mixed[mixed[:, 0] == task, 1], order)


def test_tasks_take_turns() -> None:
    orders = [np.arange(400), np.arange(400)]
    first = interleave(orders, batch_size=4, rng=np.random.default_rng(0))[:400, 0]
    assert 0.3 < first.mean() < 0.7
