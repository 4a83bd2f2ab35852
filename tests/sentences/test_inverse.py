"""The inverse: known answers, falls with the rank, better than the line on cells it has not seen."""

from __future__ import annotations

import anndata as ad
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import sparse

from sc_c2s.sentences.inverse import RankFit, fit_rank_expression, is_counts, log_expression, ranked_values


def cells(n_cells=300, seed=0):
    """Counts of cells of very different depth."""
    rng = np.random.default_rng(seed)
    rates = rng.gamma(0.3, size=400)
    depth = rng.lognormal(6, 0.8, size=(n_cells, 1))
    return sparse.csr_matrix(rng.poisson(depth * rates / rates.sum()).astype(np.float32))


def fifth(x):
    return np.arange(x.shape[0]) % 5 == 0


def test_log_expression_known():
    x = sparse.csr_matrix(np.array([[1, 3, 0], [0, 0, 0], [2, 0, 0]], dtype=np.float32))
    expected = np.log1p(1e4 * np.array([[0.25, 0.75, 0], [0, 0, 0], [1, 0, 0]]))
    np.testing.assert_allclose(log_expression(x).toarray(), expected, rtol=1e-6)
    assert log_expression(x).dtype == np.float32
    # Totals of whole cells, where x holds only some genes.
    np.testing.assert_allclose(
        log_expression(x, totals=np.array([8, 5, 4])).toarray(),
        np.log1p(1e4 * np.array([[1 / 8, 3 / 8, 0], [0, 0, 0], [0.5, 0, 0]])),
        rtol=1e-6,
    )
    assert x.data.tolist() == [1, 3, 2]


def test_normalised_values_are_left_alone():
    x = sparse.csr_matrix(np.array([[0.5, 3]], dtype=np.float32))
    assert not is_counts(x)
    assert log_expression(x) is x


def test_ranked_values_known():
    x = sparse.csr_matrix(np.array([[1, 3, 0], [0, 0, 0], [2, 2, 5]], dtype=np.float32))
    rank, n_expressed, values = ranked_values(x)
    assert rank.tolist() == [0, 1, 0, 1, 2]
    assert n_expressed.tolist() == [2, 2, 3, 3, 3]
    assert values.tolist() == [3, 1, 5, 2, 2]


def test_line_known():
    # Values on the line 5 - 2 log10(1 + rank), the same in all cells.
    values = (5 - 2 * np.log10(1 + np.arange(50))).astype(np.float32)
    x = sparse.csr_matrix(np.tile(values, (20, 1)))
    fit = fit_rank_expression(x, fifth(x))
    np.testing.assert_allclose(fit.line, [5, -2], atol=1e-5)
    np.testing.assert_allclose(fit.predict_line(np.array([0, 9])), [5, 3], atol=1e-5)
    assert fit.r2_line == pytest.approx(1, abs=1e-6)
    assert fit.r2 > 0.99
    np.testing.assert_allclose(fit.predict(np.arange(50), 50), values, atol=0.1)


def test_table_knows_the_size_of_the_cell():
    # The last gene of a cell is worth log(1 + 1e4 / n): what the line cannot know.
    sizes = np.repeat([20, 40, 80, 160], 25)
    rows = [np.log1p(1e4 / n) * np.ones(n) for n in sizes]
    x = sparse.csr_matrix(
        (np.concatenate(rows), np.concatenate([np.arange(n) for n in sizes]), np.concatenate([[0], np.cumsum(sizes)])),
        shape=(100, 160),
        dtype=np.float32,
    )
    fit = fit_rank_expression(x, fifth(x))
    assert fit.r2 > 0.99
    assert fit.r2_line < 0.5
    for n in (20, 40, 80, 160):
        np.testing.assert_allclose(fit.predict(np.arange(n), n), np.log1p(1e4 / n), rtol=0.02)


def test_better_than_the_line_on_cells_not_seen():
    x = log_expression(cells())
    fit = fit_rank_expression(x, fifth(x))
    assert fit.n_cells == 240
    assert fit.n_cells_held_out == 60
    assert fit.r2 > fit.r2_line + 0.02
    # What it reports is what anyone computes.
    rank, n_expressed, values = ranked_values(x[fifth(x)])
    for reported, predicted in ((fit.r2, fit.predict(rank, n_expressed)), (fit.r2_line, fit.predict_line(rank))):
        assert reported == pytest.approx(1 - np.mean((values - predicted) ** 2) / np.var(values), abs=1e-6)


def test_held_out_cells_do_not_change_the_fit():
    x = log_expression(cells())
    held_out = fifth(x)
    other = sparse.csr_matrix(sparse.diags(np.where(held_out, 3.0, 1.0)) @ x, dtype=np.float32)
    one, two = fit_rank_expression(x, held_out), fit_rank_expression(other, held_out)
    np.testing.assert_array_equal(one.table, two.table)
    assert one.r2 != two.r2


@given(st.integers(0, 20), st.integers(1, 100_000))
@settings(deadline=None, max_examples=30)
def test_never_rises_with_the_rank_and_is_never_negative(seed, n_expressed):
    x = log_expression(cells(15, seed))
    predicted = fit_rank_expression(x, fifth(x)).predict(np.arange(min(n_expressed, 3000)), n_expressed)
    assert (np.diff(predicted) <= 1e-5).all()
    assert (predicted >= 0).all()


@pytest.mark.parametrize("n_cells", [1, 2, 5])
def test_few_cells(n_cells):
    x = log_expression(cells(n_cells))
    fit = fit_rank_expression(x, np.zeros(n_cells, dtype=bool))
    assert np.isfinite(fit.predict(np.arange(100), 100)).all()
    assert np.isnan(fit.r2)


def test_cells_without_counts():
    x = sparse.csr_matrix((4, 10), dtype=np.float32)
    fit = fit_rank_expression(x, np.array([True, False, False, False]))
    assert np.isnan(fit.r2)
    assert fit.predict(np.array([0]), np.array([1])).tolist() == [0]


def test_through_a_file(tmp_path):
    x = log_expression(cells())
    fit = fit_rank_expression(x, fifth(x))
    adata = ad.AnnData(x, uns={"fit": fit.to_dict()})
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = RankFit.from_dict(ad.read_h5ad(tmp_path / "a.h5ad").uns["fit"])
    np.testing.assert_array_equal(back.predict(np.arange(90), 90), fit.predict(np.arange(90), 90))
    assert (back.r2, back.r2_line, back.n_cells) == (fit.r2, fit.r2_line, fit.n_cells)


def test_kang(shared_data):
    adata = ad.read_h5ad(shared_data / "kang2018_ifnb_pbmc_13999.h5ad")
    cells = np.random.default_rng(0).permutation(adata.n_obs)[:2000]
    fit = fit_rank_expression(log_expression(adata.X[cells]), np.arange(2000) >= 1000)
    assert fit.r2_line == pytest.approx(0.872, abs=0.006)
    assert fit.r2 > 0.94
    assert fit.to_dict()["table"].size < 250
