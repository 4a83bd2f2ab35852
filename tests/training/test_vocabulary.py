"""Which genes are read, and where their vectors start."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from sc_c2s.training.vocabulary import (
    explained_variance,
    gene_embeddings,
    informative_genes,
    most_shown,
    nothing,
    writer_embeddings,
)

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


def test_variance_explained_by_labels_is_known() -> None:
    # Two labels of two cells each. First gene: 4 of 5 between the labels; second: all; third: none; fourth: constant.
    x = sparse.csr_matrix([[0.0, 0, 0, 1], [1, 0, 1, 1], [2, 5, 0, 1], [3, 5, 1, 1]])
    np.testing.assert_allclose(explained_variance(x, np.array([0, 0, 1, 1])), [1 - 1 / 5 * 3 / 2, 1, 0, 0])


def test_labels_explain_noise_no_better_than_chance(x) -> None:
    found = explained_variance(x, LABELS)
    assert found[:6].min() > 0.7
    assert found[6:20].mean() < 0.03
    assert found[21] == 0


@pytest.mark.parametrize("labels", [np.zeros(N), np.arange(N)], ids=["one label", "a label a cell"])
def test_labels_that_cannot_explain_do_not(x, labels) -> None:
    np.testing.assert_array_equal(explained_variance(x, labels), 0)


def test_genes_that_rise_together_start_together(x) -> None:
    vectors = gene_embeddings(x[:, :20], LABELS, n_dims=8)
    assert vectors.shape == (20, 8)
    directions = vectors[:6, :-1]
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    alike = directions @ directions.T
    partners = [alike[2 * label, 2 * label + 1] for label in range(3)]
    strangers = [alike[a, b] for a in range(6) for b in range(6) if a // 2 != b // 2]
    assert min(partners) > 0.8
    assert max(strangers) < 0


def test_markers_speak_louder_than_noise_but_vectors_are_equally_long(x) -> None:
    vectors = gene_embeddings(x[:, :20], LABELS, n_dims=8)
    loud = np.linalg.norm(vectors[:, :-1], axis=1)
    assert loud[:6].min() > 1.3 * loud[6:].max()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_the_fewer_cells_the_more_alike_genes_are() -> None:
    rng, spread = np.random.default_rng(0), []
    for n in (30, 300):
        labels = np.arange(n) % 3
        x = np.hstack([rng.poisson(3, size=(n, 12)), rng.poisson(2 + 6 * labels)[:, None]])
        loud = np.linalg.norm(gene_embeddings(sparse.csr_matrix(np.log1p(x)), labels, n_dims=6)[:, :-1], axis=1)
        spread.append(loud[-1] / loud[:-1].mean())
    assert 1 < spread[0] < spread[1]


def test_no_more_dimensions_than_the_cells_hold(x) -> None:
    assert gene_embeddings(x[:4, :20], LABELS[:4], n_dims=64).shape == (20, 4)
    assert gene_embeddings(x[:, :5], LABELS, n_dims=64).shape == (5, 5)


def test_the_same_seed_gives_the_same_vectors(x) -> None:
    one, two = (gene_embeddings(x, LABELS, n_dims=4, seed=1) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_a_gene_without_variance_says_only_that_it_is_there() -> None:
    x = np.hstack([np.ones((N, 1)), np.random.default_rng(0).random((N, 4))])
    vectors = gene_embeddings(sparse.csr_matrix(x), LABELS, n_dims=4)
    np.testing.assert_allclose(vectors[0], [0, 0, 0, 1], atol=1e-3)
    np.testing.assert_array_equal(nothing(4), [0, 0, 0, 1])


def test_without_labels_the_most_variable_genes_are_chosen(x) -> None:
    dense = x.toarray()[:, :20]
    found = informative_genes(x[:, :20], np.full(N, "any"), n_top=6)
    np.testing.assert_array_equal(found, np.sort(np.argsort(-dense.var(axis=0))[:6]))


def test_words_of_a_writer(x) -> None:
    """All of one length, conditions in dimensions that no gene uses."""
    genes, conditions, begin = writer_embeddings(x[:, :20], LABELS, n_dims=40, n_conditions=8)
    stacked = np.stack([*genes, *conditions.values(), begin])
    np.testing.assert_allclose(np.linalg.norm(stacked, axis=1), 1)
    assert (genes[:, :10] == 0).all()
    assert list(conditions) == [0, 1, 2]
    assert (np.stack(list(conditions.values()))[:, 10:] == 0).all()
    np.testing.assert_array_equal(np.stack(list(conditions.values()))[:, :8] > 0, np.eye(3, 8) > 0)
    assert np.flatnonzero(begin).tolist() == [9, 39]
    abundance = np.asarray(x[:, :20].mean(axis=0)).ravel()
    assert np.corrcoef(genes[:, 37], np.log(abundance))[0, 1] > 0.99


def test_without_labels_no_gene_is_louder_than_another(x) -> None:
    genes = gene_embeddings(x[:, :20], np.full(N, "any"), n_dims=40)
    np.testing.assert_allclose(np.linalg.norm(genes[:, :-1], axis=1), 1, atol=1e-6)
    assert np.ptp(np.linalg.norm(gene_embeddings(x[:, :20], LABELS, n_dims=40)[:, :-1], axis=1)) > 0.3


def test_more_conditions_than_dimensions(x) -> None:
    """Those alike in expression then share dimensions, those unlike do not."""
    labels = LABELS + 3 * (np.arange(N) // 3 % 2)
    _, conditions, _ = writer_embeddings(x[:, :20], labels, n_dims=40, n_conditions=3)
    where = np.stack([conditions[i][:3] for i in range(6)])
    where /= np.linalg.norm(where, axis=1, keepdims=True)
    alike = where @ where.T
    assert min(alike[i, i + 3] for i in range(3)) > 0.8
    assert max(alike[0, 1], alike[0, 2], alike[1, 2]) < 0.5


@pytest.mark.parametrize(("n_top", "chosen"), [(10, [0, 2, 3]), (2, [2, 3]), (1, [3])])
def test_genes_of_the_most_sentences_are_chosen(n_top: int, chosen: list[int]) -> None:
    sentences = np.array([3, 2, 3, 0, 2, 3])
    np.testing.assert_array_equal(most_shown(sentences, 5, n_top=n_top), chosen)
