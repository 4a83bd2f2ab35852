from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import sc_c2s as c2s
from sc_c2s.sentences.inverse import RankFit


@pytest.fixture
def written(any_data):
    c2s.pp.to_sentences(any_data.data, **any_data.where)
    return any_data


def lines(ax) -> dict[str, np.ndarray]:
    """Curves by their names in the legend; dots are not in it."""
    return {line.get_label(): line.get_xydata() for line in ax.lines if line.get_linestyle() != "None"}


def dots(ax) -> list[np.ndarray]:
    return [line.get_xydata() for line in ax.lines if line.get_linestyle() == "None"]


def check_curves(ax, fit: RankFit) -> None:
    curves = lines(ax)
    assert list(curves) == ["12 genes", "30 genes", "straight line"]
    for n in (12, 30):
        x, y = curves[f"{n} genes"].T
        assert (x[0], x[-1]) == (1, n)
        np.testing.assert_allclose(y, fit.predict(x - 1, np.asarray(n)))
        assert (np.diff(y) <= 0).all()
    x, y = curves["straight line"].T
    np.testing.assert_allclose(y, fit.predict_line(x - 1))
    assert f"R² {fit.r2:.3f}, straight line {fit.r2_line:.3f}" in ax.get_title()
    assert f"in {fit.n_cells_held_out} cells" in ax.get_title()
    assert "log1p CP10k" in ax.get_ylabel()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(curves)


def test_curves_and_scores_are_those_of_the_fit(written):
    ax = c2s.pl.rank_fit(written.data, n_expressed=[30, 12], show=False, **written.where)
    check_curves(ax, RankFit.from_dict(written.adata.uns["cell_sentence"]["rank_fit"]))


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_the_same_from_a_file(written, tmp_path, suffix):
    fit = RankFit.from_dict(written.adata.uns["cell_sentence"]["rank_fit"])
    getattr(written.adata, f"write_{suffix}")(tmp_path / "cells")
    stored = getattr(ad, f"read_{suffix}")(tmp_path / "cells")
    ax = c2s.pl.rank_fit(stored, n_expressed=[12, 30], show=False)
    check_curves(ax, fit)
    here = c2s.pl.rank_fit(written.data, n_expressed=[12, 30], show=False, **written.where)
    for ours, theirs in zip(dots(here), dots(ax), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_dots_are_the_medians_at_each_rank(written):
    adata = written.adata
    x = adata.X.toarray()
    falling = -np.sort(-np.log1p(1e4 * x / x.sum(axis=1, keepdims=True)), axis=1)
    n = int(np.median((x > 0).sum(axis=1)))
    near = np.abs(np.log((x > 0).sum(axis=1) / n)) < np.log(1.15)
    assert near.sum() >= 5
    (points,) = dots(c2s.pl.rank_fit(written.data, n_expressed=[n], show=False, **written.where))
    expected = np.median(falling[near][:, :4], axis=0)
    np.testing.assert_allclose(points[:4], np.column_stack([[1, 2, 3, 4], expected]), rtol=1e-5)


def test_default_curves_span_the_cells(written):
    ax = c2s.pl.rank_fit(written.data, show=False, **written.where)
    *numbers, line = lines(ax)
    assert line == "straight line"
    sizes = [int(name.split()[0]) for name in numbers]
    low, middle, high = np.quantile(written.adata.obs["cell_sentence_n_genes"], [0, 0.5, 1])
    assert sizes == sorted(sizes)
    assert len(sizes) == 3
    assert low <= sizes[0] < middle < sizes[-1] <= high


def test_curves_alone_where_the_expression_is_gone(written):
    adata = written.adata
    options = {"n_expressed": [12, 30], "show": False, **written.where}
    assert len(dots(c2s.pl.rank_fit(written.data, **options))) > 0
    assert dots(c2s.pl.rank_fit(written.data, n_cells=0, **options)) == []
    adata.uns["cell_sentence"]["params"]["mask_var"] = "array"
    assert dots(c2s.pl.rank_fit(written.data, **options)) == []
    adata.uns["cell_sentence"]["params"] |= {"mask_var": None, "layer": "gone"}
    assert dots(c2s.pl.rank_fit(written.data, **options)) == []
    adata.uns["cell_sentence"]["params"]["layer"] = None
    adata.X = adata.X.toarray() - 1  # as scaling does
    ax = c2s.pl.rank_fit(written.data, **options)
    assert dots(ax) == []
    check_curves(ax, RankFit.from_dict(adata.uns["cell_sentence"]["rank_fit"]))


def test_dots_know_the_genes_that_were_masked(any_data):
    any_data.adata.var["kept"] = np.arange(any_data.adata.n_vars) % 2 == 0
    c2s.pp.to_sentences(any_data.data, mask_var="kept", **any_data.where)
    x = any_data.adata.X.toarray()
    values = np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))[:, ::2]
    n = int(np.median((values > 0).sum(axis=1)))
    near = np.abs(np.log((values > 0).sum(axis=1) / n)) < np.log(1.15)
    (points,) = dots(c2s.pl.rank_fit(any_data.data, n_expressed=[n], show=False, **any_data.where))
    np.testing.assert_allclose(points[0], [1, np.median(values[near].max(axis=1))], rtol=1e-5)


def test_bad_input(adata):
    with pytest.raises(KeyError, match="pp.to_sentences"):
        c2s.pl.rank_fit(adata, show=False)
