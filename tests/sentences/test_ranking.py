"""Ranks: falling values, ties by name, never by position."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from scipy import sparse

from sc_c2s.sentences.ranking import hash_names, rank_genes

counts = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 8), st.integers(1, 40)), elements=st.sampled_from([0, 0, 1, 1, 2, 7.5])
)


def ranked(x, *, n_genes=None, cells=None, genes=None):
    x = np.asarray(x, dtype=np.float32)
    cells = [f"cell{i}" for i in range(x.shape[0])] if cells is None else cells
    genes = [f"gene{i}" for i in range(x.shape[1])] if genes is None else genes
    result = rank_genes(sparse.csr_matrix(x), n_genes=n_genes, cell_hash=hash_names(cells), gene_hash=hash_names(genes))
    return [result.indices[a:b].tolist() for a, b in zip(result.indptr, result.indptr[1:], strict=False)], result


def test_highest_first_and_zeros_left_out():
    lists, result = ranked([[0, 3, 1, 7], [0, 0, 0, 0], [0.5, 0, 0.25, 0]])
    assert lists == [[3, 1, 2], [], [0, 2]]
    assert result.n_expressed.tolist() == [3, 0, 2]
    assert len(result) == 3


def test_cut_keeps_the_highest_and_counts_all():
    lists, result = ranked([[5, 4, 3, 2, 1], [1, 2, 3, 4, 5]], n_genes=2)
    assert lists == [[0, 1], [4, 3]]
    assert result.n_expressed.tolist() == [5, 5]


def test_values_across_the_range_of_floats():
    values = np.array(
        [[1e-30, 1e30, 1.0, np.nextafter(np.float32(1), np.float32(2)), 255, 256, 65536]], dtype=np.float32
    )
    assert ranked(values)[0] == [[1, 6, 5, 4, 3, 2, 0]]


def test_stored_zeros_are_no_expression():
    x = sparse.csr_matrix((np.array([0.0, -0.0, 2.0], dtype=np.float32), [0, 1, 2], [0, 3]), shape=(1, 3))
    result = rank_genes(x, n_genes=None, cell_hash=hash_names(["a"]), gene_hash=hash_names(["x", "y", "z"]))
    assert result.indices.tolist() == [2]
    assert result.n_expressed.tolist() == [1]


@given(counts)
@settings(deadline=None)
def test_sorted_complete_and_stable_under_the_cut(x):
    lists, _ = ranked(x)
    for row, genes in zip(x, lists, strict=True):
        assert sorted(genes) == np.flatnonzero(row).tolist()
        assert (np.diff(row[genes]) <= 0).all()
    for n_genes in (1, 3, 17):
        assert ranked(x, n_genes=n_genes)[0] == [genes[:n_genes] for genes in lists]


@given(counts, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_of_columns_and_rows_does_not_matter(x, random):
    rows, columns = list(range(x.shape[0])), list(range(x.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    lists, _ = ranked(x)
    shuffled, _ = ranked(
        x[np.ix_(rows, columns)], cells=[f"cell{i}" for i in rows], genes=[f"gene{i}" for i in columns]
    )
    assert [[columns[i] for i in genes] for genes in shuffled] == [lists[i] for i in rows]


def test_ties_differ_between_cells_and_favour_no_gene():
    n_cells, n_genes = 4000, 20
    lists, _ = ranked(np.ones((n_cells, n_genes)), n_genes=1)
    first = np.bincount(np.ravel(lists), minlength=n_genes)
    expected = n_cells / n_genes
    assert ((first - expected) ** 2 / expected).sum() < 43.8  # chi-square, 19 degrees of freedom, p = 0.001


def test_same_ties_in_every_version():
    # Models are trained on this order: it must never change.
    lists, _ = ranked(np.ones((2, 8)), cells=["AAACATACAACCAC-1", "AAACATTGAGCTAC-1"], genes=list("ABCDEFGH"))
    assert lists == [[3, 1, 7, 6, 4, 5, 2, 0], [0, 7, 5, 2, 1, 4, 6, 3]]


def test_equal_keys_are_ordered_by_name_too():
    # 3000 genes of the same value share many of the 65,536 short hashes.
    genes = [f"gene{i}" for i in range(3000)]
    lists, _ = ranked(np.ones((1, 3000)), genes=genes)
    back, _ = ranked(np.ones((1, 3000)), genes=genes[::-1])
    assert [2999 - i for i in back[0]] == lists[0]


def test_hashes_are_known():
    assert hash_names(["CD3E", "Cd3e"]).tolist() == [3116445098457359436, 9936318785700656471]


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint8])
def test_other_types_of_values(dtype):
    x = sparse.csr_matrix(np.array([[0, 3, 1, 7]], dtype=dtype))
    result = rank_genes(x, n_genes=None, cell_hash=hash_names(["a"]), gene_hash=hash_names(list("wxyz")))
    assert result.indices.tolist() == [3, 1, 2]
