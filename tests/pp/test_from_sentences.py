"""pp.from_sentences: expression back from sentences, ours or others'."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import sc_c2s as c2s
from sc_c2s.sentences.inverse import RankFit, log_expression


def fit_of(adata):
    return RankFit.from_dict(adata.uns["cell_sentence"]["rank_fit"])


def test_layer(any_data):
    c2s.pp.to_sentences(any_data.data, n_genes=None, **any_data.where)
    assert c2s.pp.from_sentences(any_data.data, **any_data.where) is None
    adata = any_data.adata
    layer = adata.layers["c2s_reconstructed"]
    assert isinstance(layer, sparse.csr_matrix)
    assert layer.dtype == np.float32
    assert layer.has_sorted_indices
    # Genes are where they were, and their order of expression too.
    np.testing.assert_array_equal(layer.toarray() > 0, adata.X.toarray() > 0)
    truth, read = adata.X.toarray()[7], layer.toarray()[7]
    higher = truth[:, None] > truth[None, :]
    assert (read[:, None] >= read[None, :])[higher].all()
    assert adata.uns["c2s_reconstructed"] == {
        "params": {"key": "cell_sentence", "mod": any_data.where.get("mod")},
        "space": "log1p CP10k",
        "n_unknown": 0,
        "n_repeated": 0,
        "n_empty": 0,
    }


def test_values_are_those_of_the_fit(adata):
    c2s.pp.to_sentences(adata, n_genes=3)
    c2s.pp.from_sentences(adata, key_added="read")
    words = adata.obs["cell_sentence"].iloc[0].split()
    row = pd.Series(adata.layers["read"][0].toarray()[0], index=adata.var_names)
    # Three genes are written, the number of all is still known.
    expected = fit_of(adata).predict(np.arange(3), int(adata.obs["cell_sentence_n_genes"].iloc[0]))
    np.testing.assert_allclose(row[words], expected)
    assert (row.drop(words) == 0).all()


def test_close_to_the_truth(adata):
    c2s.pp.to_sentences(adata, n_genes=None)
    c2s.pp.from_sentences(adata)
    truth, read = log_expression(adata.X).data, adata.layers["c2s_reconstructed"].data
    line = fit_of(adata).r2_line
    assert 1 - np.mean((truth - read) ** 2) / np.var(truth) > line


def test_new_object(any_data):
    c2s.pp.to_sentences(any_data.data, n_genes=None, **any_data.where)
    new = c2s.pp.from_sentences(any_data.data, as_anndata=True, **any_data.where)
    adata = any_data.adata
    assert isinstance(new, ad.AnnData)
    assert new.obs_names.tolist() == adata.obs_names.tolist()
    assert new.var_names.tolist() == adata.var_names.tolist()
    assert new.obs["cell_type"].tolist() == adata.obs["cell_type"].tolist()
    assert "c2s_reconstructed" not in adata.layers
    c2s.pp.from_sentences(any_data.data, **any_data.where)
    np.testing.assert_array_equal(new.X.toarray(), adata.layers["c2s_reconstructed"].toarray())


def test_raw_genes(adata):
    adata.raw = adata.copy()
    adata = adata[:, ::2].copy()
    c2s.pp.to_sentences(adata, use_raw=True, n_genes=None)
    new = c2s.pp.from_sentences(adata, as_anndata=True)
    assert new.var_names.tolist() == adata.raw.var_names.tolist()
    c2s.pp.from_sentences(adata)
    # Genes of raw that X lacks are left out, and hold their ranks.
    np.testing.assert_array_equal(adata.layers["c2s_reconstructed"].toarray(), new[:, adata.var_names].X.toarray())
    assert adata.uns["c2s_reconstructed"]["n_unknown"] == np.count_nonzero(
        new[:, ~new.var_names.isin(adata.var_names)].X.toarray()
    )


def test_given_sentences(adata):
    c2s.pp.to_sentences(adata)
    given = ["GENE3 GENE1", "GENE2, GENE0;GENE2 what GENE5", "", "nothing known"]
    new = c2s.pp.from_sentences(adata, sentences=given)
    fit = fit_of(adata)
    expected = np.zeros((4, adata.n_vars), dtype=np.float32)
    expected[0, [3, 1]] = fit.predict(np.arange(2), 2)
    expected[1, [2, 0, 5]] = fit.predict(np.array([0, 1, 3]), 4)
    np.testing.assert_allclose(new.X.toarray(), expected)
    assert new.obs_names.tolist() == ["0", "1", "2", "3"]
    assert new.obs["n_unknown"].tolist() == [0, 1, 0, 2]
    assert new.obs["n_repeated"].tolist() == [0, 1, 0, 0]
    about = new.uns["c2s_reconstructed"]
    assert (about["n_unknown"], about["n_repeated"], about["n_empty"]) == (3, 1, 2)


def test_given_sentences_with_names_and_sizes(adata):
    c2s.pp.to_sentences(adata)
    new = c2s.pp.from_sentences(adata, sentences=pd.Series({"x": "GENE3 GENE1"}), n_expressed=[20])
    assert new.obs_names.tolist() == ["x"]
    np.testing.assert_allclose(new.X.toarray()[0, [3, 1]], fit_of(adata).predict(np.arange(2), 20))
    with pytest.raises(ValueError, match="one number for each of the 1 sentences"):
        c2s.pp.from_sentences(adata, sentences=["GENE1"], n_expressed=[2, 3])


def test_names_with_white_space(mdata):
    c2s.pp.to_sentences(mdata, mod="prot")
    c2s.pp.from_sentences(mdata, mod="prot")
    prot = mdata["prot"]
    np.testing.assert_array_equal(prot.layers["c2s_reconstructed"].toarray() > 0, prot.X > 0)


def test_symbols(adata):
    adata.var["symbol"] = adata.var_names
    adata.var_names = adata.var["ensembl"].to_numpy()
    c2s.pp.to_sentences(adata, gene_symbols="symbol", n_genes=None)
    c2s.pp.from_sentences(adata)
    np.testing.assert_array_equal(adata.layers["c2s_reconstructed"].toarray() > 0, adata.X.toarray() > 0)


def test_copy(any_data):
    c2s.pp.to_sentences(any_data.data, **any_data.where)
    copy = c2s.pp.from_sentences(any_data.data, copy=True, **any_data.where)
    assert "c2s_reconstructed" in (copy["rna"] if any_data.where else copy).layers
    assert "c2s_reconstructed" not in any_data.adata.layers


def test_through_a_file(adata, tmp_path):
    c2s.pp.to_sentences(adata)
    c2s.pp.from_sentences(adata)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(
        back.layers["c2s_reconstructed"].toarray(), adata.layers["c2s_reconstructed"].toarray()
    )
    assert back.uns["c2s_reconstructed"]["params"]["mod"] is None
    c2s.pp.from_sentences(adata, as_anndata=True).write_h5ad(tmp_path / "b.h5ad")
    assert ad.read_h5ad(tmp_path / "b.h5ad").shape == adata.shape


def test_without_sentences(any_data):
    with pytest.raises(KeyError, match=r"call pp.to_sentences first"):
        c2s.pp.from_sentences(any_data.data, **any_data.where)


def test_normalised_space():
    adata = sc.datasets.pbmc68k_reduced()
    c2s.pp.to_sentences(adata, use_raw=True, n_genes=None)
    new = c2s.pp.from_sentences(adata, as_anndata=True)
    truth = adata.raw.X.toarray()
    assert new.uns["c2s_reconstructed"]["space"] == "as given"
    assert np.corrcoef(truth[truth > 0], new.X.toarray()[truth > 0])[0, 1] > 0.9
