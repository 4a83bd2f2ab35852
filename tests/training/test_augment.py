"""Variants of cells: what is drawn, how often, and from what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from sc_c2s.training.augment import NONE, Augmentation, Augmenter, pseudo_counts

counts = arrays(np.int64, (6, 8), elements=st.integers(0, 50))


def log1p_cp10k(x: np.ndarray) -> sparse.csr_matrix:
    total = np.maximum(x.sum(axis=1, keepdims=True), 1)
    return sparse.csr_matrix(np.log1p(1e4 * x / total).astype(np.float32))


@given(counts)
def test_counts_come_back_from_log_values(x) -> None:
    """Up to the greatest number that all counts of a cell are multiples of: mostly there is a one."""
    x[x.sum(axis=1) > 0, 0] = 1
    np.testing.assert_array_equal(pseudo_counts(log1p_cp10k(x)).toarray(), x)


@given(counts)
def test_counts_stay(x) -> None:
    before = sparse.csr_matrix(x, dtype=np.float32)
    after = pseudo_counts(before)
    np.testing.assert_array_equal(after.toarray(), x)
    assert after is not before


def test_the_smallest_value_of_a_cell_is_one_count() -> None:
    x = np.array([[4, 2, 0], [9, 0, 3], [0, 0, 0]])
    np.testing.assert_array_equal(pseudo_counts(log1p_cp10k(x)).toarray(), [[2, 1, 0], [3, 0, 1], [0, 0, 0]])


def test_nothing_at_all() -> None:
    assert pseudo_counts(sparse.csr_matrix((3, 4))).nnz == 0


# Cells 0 and 1 carry one label and share gene 2; cell 2 carries another.
X = sparse.csr_matrix(np.array([[40, 20, 8, 0, 0, 0], [0, 0, 8, 20, 40, 0], [0, 0, 0, 0, 0, 9]], dtype=np.float32))
LABELS = np.array([0, 0, 1])


def augmenter(how: Augmentation, *, seed: int = 0, x: sparse.csr_matrix = X) -> Augmenter:
    return Augmenter(x, LABELS[: x.shape[0]], how, seed=seed)


def test_without_augmentation_genes_come_by_falling_value() -> None:
    assert list(augmenter(NONE).variant(0, 0)) == [0, 1, 2]
    assert list(augmenter(NONE).variant(1, 7)) == [4, 3, 2]


def test_ties_are_broken_at_random() -> None:
    equal = augmenter(NONE, x=sparse.csr_matrix(np.ones((1, 3), dtype=np.float32)))
    orders = [tuple(equal.variant(0, i)) for i in range(600)]
    shares = np.unique(orders, axis=0, return_counts=True)[1] / 600
    assert len(shares) == 6
    np.testing.assert_allclose(shares, 1 / 6, atol=0.06)


@given(st.permutations([(cell, i) for cell in range(3) for i in range(4)]))
def test_a_variant_depends_on_its_number_alone(order) -> None:
    how = Augmentation(depth=0.3, dropout=0.3, mix=0.5)
    drawn = augmenter(how, seed=3)
    one_after_the_other = {pair: list(augmenter(how, seed=3).variant(*pair)) for pair in sorted(order)}
    assert {pair: list(drawn.variant(*pair)) for pair in order} == one_after_the_other


def test_number_and_seed_make_the_variant() -> None:
    how = Augmentation(dropout=0.5, mix=0)
    wide = sparse.csr_matrix(np.ones((1, 100), dtype=np.float32))
    first = list(augmenter(how, seed=1, x=wide).variant(0, 0))
    assert list(augmenter(how, seed=1, x=wide).variant(0, 1)) != first
    assert list(augmenter(how, seed=2, x=wide).variant(0, 0)) != first


@pytest.mark.parametrize("dropout", [0.1, 0.3, 0.5])
def test_dropout_leaves_out_its_share(dropout) -> None:
    wide = sparse.csr_matrix(np.ones((1, 200), dtype=np.float32))
    kept = np.array([len(augmenter(Augmentation(dropout=dropout, mix=0), x=wide).variant(0, i)) for i in range(400)])
    assert abs(1 - kept.mean() / 200 - dropout) < 0.03, "on average"
    assert 1 - kept.min() / 200 < 2 * dropout + 0.1, "at most twice the share"
    assert kept.max() > 180, "and sometimes next to nothing"


def test_depth_thins_counts() -> None:
    """A gene with one count stays with the probability of the share, which is uniform from depth to 1."""
    ones = sparse.csr_matrix(np.ones((1, 200), dtype=np.float32))
    kept = np.array([len(augmenter(Augmentation(0.2, dropout=0, mix=0), x=ones).variant(0, i)) for i in range(400)])
    assert abs(kept.mean() / 200 - 0.6) < 0.03
    assert 0.1 < kept.min() / 200 < 0.35
    full = augmenter(Augmentation(depth=1.0, dropout=0, mix=0), x=ones)
    assert len(full.variant(0, 0)) == 200


def test_mixing_adds_a_cell_of_the_same_label() -> None:
    mixed = augmenter(Augmentation(dropout=0, mix=1.0))
    variants = [set(mixed.variant(0, i)) for i in range(300)]
    assert all(5 not in genes for genes in variants), "the gene of the other label"
    with_other = np.mean([bool(genes & {3, 4}) for genes in variants])
    assert abs(with_other - 0.5) < 0.1, "the partner is drawn from two cells, itself one of them"
    assert all({0, 1} <= genes for genes in variants), "20 counts and more are never thinned to none"
    assert {tuple(mixed.variant(2, i)) for i in range(20)} == {(5,)}


@pytest.mark.parametrize("mix", [0.0, 0.4])
def test_mixing_happens_as_often_as_asked(mix) -> None:
    drawn = augmenter(Augmentation(dropout=0, mix=mix))
    share = np.mean([bool(set(drawn.variant(0, i)) & {3, 4}) for i in range(600)])
    assert abs(share - mix / 2) < 0.05


def test_mixed_counts_are_halved() -> None:
    """Two counts in either cell: none are left with probability 1/16, so the gene stays in 15 of 16."""
    both = sparse.csr_matrix(np.full((2, 100), 2, dtype=np.float32))
    drawn = augmenter(Augmentation(dropout=0, mix=1.0), x=both)
    kept = np.mean([len(drawn.variant(0, i)) for i in range(200)])
    assert abs(kept / 100 - 15 / 16) < 0.01


@given(st.integers(0, 2), st.integers(0, 1000))
def test_no_gene_twice_and_none_that_the_label_lacks(cell, i) -> None:
    genes = augmenter(Augmentation(depth=0.5)).variant(cell, i)
    assert len(set(genes)) == len(genes)
    assert set(genes) <= set(X[LABELS == LABELS[cell]].indices)


def test_a_cell_without_counts() -> None:
    empty = sparse.csr_matrix((1, 4), dtype=np.float32)
    assert len(augmenter(Augmentation(depth=0.5), x=empty).variant(0, 0)) == 0
