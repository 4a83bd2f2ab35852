"""Fold changes with known answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse

from sc_c2s.metrics.fold_changes import (
    fold_change_agreement,
    log_fold_changes,
    paired_fold_changes,
    top_gene_overlap,
    top_genes,
)

LABELS = np.repeat(["a", "b", "c"], 20)


@pytest.fixture
def x() -> np.ndarray:
    """Counts per 10,000 whose means are 7 in a group's own two genes and 1 elsewhere; the last gene is silent."""
    rng = np.random.default_rng(0)
    means = np.ones((60, 7))
    for i in range(3):
        means[20 * i : 20 * (i + 1), [2 * i, 2 * i + 1]] = 7
    values = means * rng.uniform(0.8, 1.2, size=means.shape)
    values[:, 6] = 0
    return np.log1p(values)


def test_fold_changes_of_two_cells() -> None:
    x = np.log1p([[7.0, 0, 1], [1.0, 0, 3]])
    found = log_fold_changes(x, ["a", "b"])
    np.testing.assert_allclose(found.loc["a"], [2, 0, -1])
    np.testing.assert_allclose(found.loc["b"], [-2, 0, 1])
    pd.testing.assert_frame_equal(log_fold_changes(sparse.csr_matrix(x), ["a", "b"]), found)


def test_means_are_of_counts_and_the_rest_is_all_other_cells() -> None:
    x = np.log1p([[3.0], [3.0], [1.0], [5.0], [9.0]])
    found = log_fold_changes(x, ["a", "a", "b", "b", "c"])[0]
    assert found["a"] == pytest.approx(np.log2(4 / 6))
    assert found["c"] == pytest.approx(np.log2(10 / 4))


def test_cells_agree_with_themselves(x) -> None:
    found = fold_change_agreement(x, LABELS, sparse.csr_matrix(x[::-1]), LABELS[::-1])
    np.testing.assert_allclose(found[["lfc_pearson", "lfc_slope"]], 1)
    assert (found["n_genes"] == 6).all(), "a gene that no real cell shows is not compared"


def test_pairs_are_of_genes_that_real_cells_show_and_of_groups_that_both_have(x) -> None:
    found = paired_fold_changes(x, LABELS, 2 * x[:40, :], LABELS[:40])
    assert list(found) == ["a", "b"]
    real, other = log_fold_changes(x[:40], LABELS[:40]), log_fold_changes(2 * x[:40], LABELS[:40])
    for group, pairs in found.items():
        assert list(pairs.index) == [0, 1, 2, 3, 4, 5], "the last gene is silent"
        np.testing.assert_allclose(pairs["real"], real.loc[group, :5])
        np.testing.assert_allclose(pairs["other"], other.loc[group, :5])


def test_differences_that_shrink_have_a_slope_below_one(x) -> None:
    """Means moved half-way to the middle in log2(mean + 1)."""
    halved = np.empty_like(x)
    for label in "abc":
        mean = np.expm1(x[LABELS == label]).mean(axis=0)
        halved[LABELS == label] = np.log1p(np.sqrt(mean + 1) * 2 - 1)
    found = fold_change_agreement(x, LABELS, halved, LABELS)
    assert (found["lfc_pearson"] > 0.99).all()
    assert found["lfc_slope"].between(0.45, 0.6).all()


def test_exchanged_labels_do_not_agree(x) -> None:
    found = fold_change_agreement(x, LABELS, x, np.roll(LABELS, 20))
    assert (found["lfc_pearson"] < 0).all()


def test_only_groups_that_both_have_are_compared(x) -> None:
    found = fold_change_agreement(x, LABELS, x[:40], LABELS[:40])
    assert list(found.index) == ["a", "b"]
    np.testing.assert_allclose(found["lfc_slope"], 1)
    with pytest.raises(ValueError, match="two groups or more that both"):
        fold_change_agreement(x, LABELS, x[:20], LABELS[:20])
    with pytest.raises(ValueError, match="two groups or more"):
        log_fold_changes(x[:20], LABELS[:20])


def test_silent_cells_have_no_correlation(x) -> None:
    found = fold_change_agreement(x, LABELS, np.zeros_like(x), LABELS)
    assert found["lfc_pearson"].isna().all()
    np.testing.assert_array_equal(found["lfc_slope"], 0)


def test_top_genes_are_the_markers(x) -> None:
    adata = AnnData(sparse.csr_matrix(x), obs=pd.DataFrame({"type": LABELS}, index=[f"c{i}" for i in range(60)]))
    adata.var_names = [f"g{i}" for i in range(7)]
    found = top_genes(adata, groupby="type", n_top=2)
    assert {group: set(genes) for group, genes in found.items()} == {
        "a": {"g0", "g1"},
        "b": {"g2", "g3"},
        "c": {"g4", "g5"},
    }
    assert "rank_genes_groups" not in adata.uns
    sc.tl.rank_genes_groups(adata, "type", method="t-test", n_genes=2)
    assert list(adata.uns["rank_genes_groups"]["names"]["b"]) == found["b"]


def test_groups_of_one_cell_have_no_top_genes(x) -> None:
    labels = LABELS.copy()
    labels[0] = "alone"
    adata = AnnData(x, obs=pd.DataFrame({"type": labels}, index=[f"c{i}" for i in range(60)]))
    assert list(top_genes(adata, groupby="type")) == ["a", "b", "c"]


def test_overlap() -> None:
    real = {"a": ["g1", "g2", "g3", "g4"], "b": ["g5", "g6"], "c": ["g7"]}
    found = top_gene_overlap(real, {"a": ["g4", "g9", "g1", "g8"], "b": ["g1", "g2"]})
    assert found["a"] == 0.5
    assert found["b"] == 0
    assert np.isnan(found["c"])
