from __future__ import annotations

import anndata
import numpy as np
import pytest
from scanpy import logging as logg

import sc_c2s as c2s
from sc_c2s.pl import _prediction
from sc_c2s.tl import _perturb

B, MONO = "B cell", "CD14+ monocyte"


def plot(cells, **options):
    return c2s.pl.perturbed_changes(cells.data, **{"show": False, **cells.where, **options})


def real_and_predicted(adata, context) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Changes by hand, and their genes: those at hand that were predicted, in the order at hand."""
    x = adata.X.toarray()
    log = np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))
    here = (adata.obs["cell_type"] == context).to_numpy()
    real, control = (log[here & (adata.obs["treatment"] == kind).to_numpy()].mean(axis=0) for kind in ("IFN", "none"))
    stored = adata.uns["c2s_perturbed"]
    names = list(stored["var_names"])
    genes = np.array([name for name in adata.var_names if name in names])
    row = list(stored["contexts"]).index(context)
    predicted = stored["changes"][row, [names.index(name) for name in genes]]
    return (real - control)[adata.var_names.isin(names)], predicted, genes


def test_a_panel_for_each_context_with_real_cells(with_perturbed):
    axes = plot(with_perturbed)
    assert [ax.get_title().splitlines()[0] for ax in axes] == [B, MONO], "two real cells of the last type are too few"
    for ax, context in zip(axes, (B, MONO), strict=True):
        real, predicted, genes = real_and_predicted(with_perturbed.adata, context)
        dots, named = ax.collections
        np.testing.assert_allclose(dots.get_offsets(), np.column_stack([real, predicted]), rtol=1e-4, atol=1e-5)
        top = np.argsort(-np.abs(real))[:10]
        np.testing.assert_allclose(named.get_offsets(), np.column_stack([real, predicted])[top], rtol=1e-4)
        assert [text.get_text() for text in ax.texts] == list(genes[top])
        assert {"GENE20", "GENE21", "GENE22", "GENE23"} <= set(genes[top])
        pearson = np.corrcoef(real, predicted)[0, 1]
        assert ax.get_title() == f"{context}\nPearson {pearson:.2f}, 10 real cells"
        assert ax.get_xlim() == ax.get_ylim()
        *_, identity = (line.get_xydata() for line in ax.lines)
        np.testing.assert_array_equal(identity[:, 0], identity[:, 1])
        assert ax.get_xlabel() == "real change (log1p CP10k)"


def test_named_contexts_in_their_order(with_perturbed):
    axes = plot(with_perturbed, context=[MONO, B], n_labels=0)
    assert [ax.get_title().splitlines()[0] for ax in axes] == [MONO, B]
    assert not axes[0].texts
    (ax,) = plot(with_perturbed, context=B, n_labels=3)
    assert len(ax.texts) == 3


def test_of_many_contexts_the_largest(with_perturbed, monkeypatch):
    from sc_c2s.pl import _perturbed_changes

    said = []
    monkeypatch.setattr(logg, "warning", said.append)
    monkeypatch.setattr(_perturbed_changes, "N_PANELS", 1)
    adata = with_perturbed.adata
    first = np.flatnonzero((adata.obs["cell_type"] == B) & (adata.obs["treatment"] == "IFN"))[0]
    adata.obs.loc[adata.obs_names[first], "treatment"] = "IL-6"
    (ax,) = plot(with_perturbed)
    assert ax.get_title().startswith(MONO), "of the others there is one cell less"
    assert said == ["Shown are the 1 largest of 2 contexts: name others with context=."]
    plot(with_perturbed, context=[B, MONO])
    assert len(said) == 1, "those asked for are all shown"


def test_the_expression_that_was_read_for_the_prediction(with_perturbed):
    expected = np.asarray(plot(with_perturbed)[0].collections[0].get_offsets())
    adata = with_perturbed.adata
    adata.layers["counts"] = adata.X.copy()
    adata.X = -np.ones(adata.shape, dtype=np.float32)
    adata.uns["c2s_perturbed"]["params"]["layer"] = "counts"
    np.testing.assert_allclose(plot(with_perturbed)[0].collections[0].get_offsets(), expected, rtol=1e-5)


def test_genes_by_symbol(with_perturbed):
    expected = plot(with_perturbed, context=B)[0]
    adata = with_perturbed.adata
    adata.var["symbol"] = adata.var_names.to_numpy(dtype=object)
    adata.var_names = adata.var["ensembl"].to_numpy(dtype=object)
    adata.uns["c2s_perturbed"]["params"]["gene_symbols"] = "symbol"
    (ax,) = plot(with_perturbed, context=B)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), expected.collections[0].get_offsets())
    assert [text.get_text() for text in ax.texts] == [text.get_text() for text in expected.texts]


def test_without_contexts_all_cells_are_one(with_perturbed):
    adata = with_perturbed.adata
    stored = adata.uns["c2s_perturbed"]
    stored["params"]["groupby"] = np.array([], dtype=object)
    stored |= {"contexts": np.array(["all"], dtype=object), "changes": stored["changes"][:1]}
    (ax,) = plot(with_perturbed)
    assert ax.get_title().startswith("all\n")
    assert ax.get_title().endswith("22 real cells")


def test_after_a_file_and_a_cut(adata, with_perturbed, tmp_path):
    expected = np.asarray(plot(with_perturbed, context=B)[0].collections[0].get_offsets())
    with_perturbed.adata.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    (ax,) = c2s.pl.perturbed_changes(read, context=B, show=False)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), expected, rtol=1e-6)
    (ax,) = c2s.pl.perturbed_changes(read[read.obs["cell_type"] == B], show=False)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), expected, rtol=1e-6)


def test_cells_without_a_context_or_a_condition_are_left_out(with_perturbed):
    adata = with_perturbed.adata
    for column, number in (("cell_type", 3), ("treatment", 9)):
        adata.obs[column] = adata.obs[column].where(np.arange(adata.n_obs) != number)
    b, mono = plot(with_perturbed)
    assert b.get_title().endswith("8 real cells")
    assert mono.get_title().endswith("10 real cells")


def test_figure_and_axes(with_perturbed):
    import matplotlib.pyplot as plt

    fig, mine = plt.subplots(1, 2)
    assert plot(with_perturbed, ax=mine) == list(mine)
    assert plot(with_perturbed, ax=mine, return_fig=True) is fig
    with pytest.raises(ValueError, match="2 panels, and ax= brings 1 axes"):
        plot(with_perturbed, ax=mine[0])


def test_no_real_perturbed_cells(with_perturbed):
    adata = with_perturbed.adata
    adata.obs["treatment"] = adata.obs["treatment"].astype(object).where(adata.obs["treatment"] == "none", "IL-6")
    message = (
        r"no predicted context has 3 real cells with 'IFN' in obs\['treatment'\]. Add such cells to the data and run "
        "tl.perturb again, or use pl.perturbed_embedding and pl.perturbed_program"
    )
    with pytest.raises(ValueError, match=message):
        plot(with_perturbed)
    del adata.obs["treatment"]
    if with_perturbed.where:
        # A MuData keeps a copy of the column of its own.
        with_perturbed.data.obs.drop(columns="rna:treatment", errors="ignore", inplace=True)
    with pytest.raises(ValueError, match="no predicted context has 3 real cells"):
        plot(with_perturbed)


def test_the_fewest_real_cells_are_those_of_the_prediction():
    assert _prediction.LEAST_REAL == _perturb.LEAST_REAL


def test_bad_input(with_perturbed, adata):
    with pytest.raises(KeyError, match="no context 'T cell' with real and predicted cells; there are: 'B cell', 'CD14"):
        plot(with_perturbed, context="T cell")
    with pytest.raises(ValueError, match="no context to show: name some with context="):
        plot(with_perturbed, context=[])
    with pytest.raises(KeyError, match="run tl.perturb"):
        plot(with_perturbed, key="other")
    with_perturbed.adata.obs["cell_type"] = "another"
    with pytest.raises(ValueError, match=r"obs\[\['cell_type'\]\] is no longer what it was, so run tl.perturb again"):
        plot(with_perturbed)
