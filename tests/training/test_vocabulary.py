"""Which genes are read, and where their vectors start."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from sc_c2s.training.vocabulary import gene_embeddings, informative_genes

N = 90
LABELS = np.arange(N) % 3


@pytest.fixture
def x() -> sparse.csr_matrix:
    """Genes 0 to 5 mark three labels, two each; 6 to 19 are noise; 20 is in two cells, 21 in none."""
    rng = np.random.default_rng(0)
    rates = np.full((N, 22), 3.0)
    for label in range(3):
        rates[np.ix_(LABELS == label, [2 * label, 2 * label + 1])] = 20
    counts = rng.poisson(rates)
    counts[:, 20:] = 0
    counts[[0, 3], 20] = 50
    return sparse.csr_matrix(np.log1p(counts), dtype=np.float32)


def test_markers_are_chosen_first(x) -> None:
    np.testing.assert_array_equal(informative_genes(x, LABELS, n_top=6), range(6))


def test_genes_of_a_cell_or_two_are_left_out(x) -> None:
    np.testing.assert_array_equal(informative_genes(x, LABELS, n_top=None), range(20))
    np.testing.assert_array_equal(informative_genes(x, LABELS, n_top=500), range(20))


def test_columns_come_in_order_whatever_their_score(x) -> None:
    backwards = x[:, ::-1].tocsr()
    np.testing.assert_array_equal(informative_genes(backwards, LABELS, n_top=6), range(16, 22))


def test_a_gene_that_separates_perfectly_comes_before_all_others() -> None:
    rng = np.random.default_rng(0)
    x = np.hstack([rng.poisson(3, size=(N, 5)), 5.0 * (LABELS == 1)[:, None]])
    assert 5 in informative_genes(sparse.csr_matrix(x), LABELS, n_top=1)


def test_genes_that_rise_together_start_together(x) -> None:
    vectors = gene_embeddings(x[:, :20], n_dims=8)
    assert vectors.shape == (20, 8)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = unit @ unit.T
    partners = [alike[2 * label, 2 * label + 1] for label in range(3)]
    strangers = [alike[a, b] for a in range(6) for b in range(6) if a // 2 != b // 2]
    assert min(partners) > 0.8
    assert max(strangers) < 0


def test_no_more_dimensions_than_the_cells_hold(x) -> None:
    assert gene_embeddings(x[:4, :20], n_dims=64).shape == (20, 3)
    assert gene_embeddings(x[:, :5], n_dims=64).shape == (5, 4)


def test_the_same_seed_gives_the_same_vectors(x) -> None:
    np.testing.assert_array_equal(gene_embeddings(x, n_dims=4, seed=1), gene_embeddings(x, n_dims=4, seed=1))


def test_a_gene_without_variance_stays_at_the_origin() -> None:
    x = np.hstack([np.ones((N, 1)), np.random.default_rng(0).random((N, 4))])
    vectors = gene_embeddings(sparse.csr_matrix(x), n_dims=3)
    np.testing.assert_allclose(vectors[0], 0, atol=1e-5)
