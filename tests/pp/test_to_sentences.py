"""pp.to_sentences: what it writes, from whatever the cells are stored in."""

from __future__ import annotations

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import sc_c2s as c2s
from sc_c2s.sentences.inverse import RankFit
from sc_c2s.sentences.text import read_sentences

KINDS = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}


@pytest.fixture
def small():
    """Three cells without ties, one without counts."""
    x = np.array([[0, 3, 1, 7], [5, 0, 0, 2], [0, 0, 0, 0], [4, 3, 2, 1]], dtype=np.float32)
    return ad.AnnData(
        x, obs=pd.DataFrame(index=list("abcd")), var=pd.DataFrame(index=["CD3E", "Cd3e", "B220 (CD45R)", "100%"])
    )


def sentences(data, **arguments):
    copy = c2s.pp.to_sentences(data, copy=True, **arguments)
    return copy.obs["cell_sentence"]


def test_known(small):
    assert c2s.pp.to_sentences(small) is None
    assert small.obs["cell_sentence"].tolist() == [
        "100%25 Cd3e B220%20(CD45R)",
        "CD3E 100%25",
        "",
        "CD3E Cd3e B220%20(CD45R) 100%25",
    ]
    assert all(type(sentence) is str for sentence in small.obs["cell_sentence"])
    assert small.obs["cell_sentence"].dtype == object
    assert small.obs["cell_sentence_n_genes"].tolist() == [3, 2, 0, 4]
    about = small.uns["cell_sentence"]
    assert about["params"] == {
        "mod": None,
        "layer": None,
        "use_raw": False,
        "gene_symbols": None,
        "mask_var": None,
        "n_genes": 1000,
        "ties": "hash",
    }
    assert about["space"] == "log1p CP10k"
    assert about["n_vars"] == 4
    assert about["n_empty"] == 1


def test_cut_and_names(small):
    c2s.pp.to_sentences(small, n_genes=2, key_added="short", organism="mouse")
    assert small.obs["short"].tolist() == ["100%25 Cd3e", "CD3E 100%25", "", "CD3E Cd3e"]
    assert small.obs["short_n_genes"].tolist() == [3, 2, 0, 4]
    assert small.uns["short"]["organism"] == "mouse"
    assert "cell_sentence" not in small.obs


def test_mask_and_layer(small):
    small.var["keep"] = [True, False, True, False]
    small.layers["other"] = small.X[::-1].copy()
    c2s.pp.to_sentences(small, mask_var="keep", layer="other")
    assert small.obs["cell_sentence"].tolist() == ["CD3E B220%20(CD45R)", "", "CD3E", "B220%20(CD45R)"]
    assert small.obs["cell_sentence_n_genes"].tolist() == [2, 0, 1, 1]
    assert small.uns["cell_sentence"]["params"]["mask_var"] == "keep"
    assert small.uns["cell_sentence"]["n_vars"] == 2


def test_gene_symbols(small):
    small.var["symbol"] = ["A", "B", "C", "D"]
    small.var_names = [f"ENSG{i:011d}" for i in range(4)]
    assert sentences(small, gene_symbols="symbol").tolist() == ["D B C", "A D", "", "A B C D"]
    with pytest.raises(ValueError, match="gene_symbols="):
        c2s.pp.to_sentences(small)


@pytest.fixture
def expected(adata):
    return sentences(adata, n_genes=12).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_same_sentences_from_every_matrix(adata, expected, kind):
    adata.X = KINDS[kind](adata.X.toarray())
    assert sentences(adata, n_genes=12).tolist() == expected


@pytest.mark.parametrize("kind", KINDS)
def test_same_sentences_from_a_file(adata, expected, kind, tmp_path):
    adata.X = KINDS[kind](adata.X.toarray())
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    c2s.pp.to_sentences(backed, n_genes=12, chunk_size=7)
    assert backed.isbacked
    assert backed.obs["cell_sentence"].tolist() == expected


def test_same_sentences_from_layer_and_raw(adata, expected):
    adata.layers["counts"] = adata.X.copy()
    adata.raw = adata.copy()
    adata.X = adata.X.toarray()
    sc.pp.scale(adata)
    assert sentences(adata, n_genes=12, layer="counts").tolist() == expected
    assert sentences(adata, n_genes=12, use_raw=True).tolist() == expected
    adata = adata[:, :5].copy()
    assert sentences(adata, n_genes=12, use_raw=True).tolist() == expected


@pytest.mark.parametrize("chunk_size", [1, 7, 60, 1000])
def test_same_sentences_in_all_chunks(adata, expected, chunk_size):
    assert sentences(adata, n_genes=12, chunk_size=chunk_size).tolist() == expected


@pytest.mark.parametrize("ties", ["hash", "random"])
def test_order_of_rows_and_columns_does_not_matter(adata, ties):
    before = sentences(adata, ties=ties, rng=3)
    rng = np.random.default_rng(0)
    shuffled = adata[rng.permutation(adata.n_obs), rng.permutation(adata.n_vars)].copy()
    after = sentences(shuffled, ties=ties, rng=3)
    assert after[before.index].tolist() == before.tolist()
    # Nor does what other cells there are.
    assert sentences(adata[10:20].copy(), ties=ties, rng=3).tolist() == before[10:20].tolist()


def test_order_of_rows_does_not_change_the_fit(adata):
    shuffled = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    tables = [c2s.pp.to_sentences(a, copy=True).uns["cell_sentence"]["rank_fit"]["table"] for a in (adata, shuffled)]
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-6)


def test_random_ties(adata):
    hashed = sentences(adata)
    first, again, other = (sentences(adata, ties="random", rng=seed) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() == sentences(adata, ties="random", random_state=1).tolist()
    assert first.tolist() != other.tolist() != hashed.tolist()
    genes = adata.var_names.to_numpy()
    for cell in range(adata.n_obs):
        values = [adata.X[cell].toarray()[0][read_sentences([s.iloc[cell]], genes).indices] for s in (first, hashed)]
        np.testing.assert_array_equal(*values)


def test_monotone_changes_of_scale_change_nothing(adata, expected):
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    assert sentences(adata, n_genes=12).tolist() == expected


def test_a_view_becomes_a_copy(adata, expected):
    view = adata[5:15]
    with pytest.warns(ad.ImplicitModificationWarning):
        c2s.pp.to_sentences(view, n_genes=12)
    assert view.obs["cell_sentence"].tolist() == expected[5:15]
    assert "cell_sentence" not in adata.obs


def test_mudata_equals_anndata(any_data, expected):
    c2s.pp.to_sentences(any_data.data, n_genes=12, **any_data.where)
    assert any_data.adata.obs["cell_sentence"].tolist() == expected
    if any_data.where:
        whole = any_data.data.obs
        assert whole.loc[any_data.adata.obs_names, "rna:cell_sentence"].tolist() == expected
        assert whole.loc["protein_only", ["rna:cell_sentence", "rna:cell_sentence_n_genes"]].isna().all()


def test_proteins(mdata):
    c2s.pp.to_sentences(mdata, mod="prot")
    words = {word for sentence in mdata["prot"].obs["cell_sentence"] for word in sentence.split()}
    assert words == {"CD3", "CD19", "B220%20(CD45R)"}


def test_copy(any_data):
    copy = c2s.pp.to_sentences(any_data.data, copy=True, **any_data.where)
    assert type(copy) is type(any_data.data)
    assert "cell_sentence" not in any_data.adata.obs


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("form", ["h5ad", "zarr", "h5mu"])
def test_through_files(any_data, form, repeated, tmp_path):
    if any_data.where and form == "h5ad":
        pytest.skip("a MuData has a format of its own")
    adata = any_data.adata
    if repeated:  # anndata turns repeated strings into a categorical
        x = np.zeros(adata.shape, dtype=np.float32)
        x[:, :3] = 3, 2, 1
        adata.X = sparse.csr_matrix(x)
    c2s.pp.to_sentences(any_data.data, n_genes=3, **any_data.where)
    before = adata.obs["cell_sentence"].tolist()
    data = any_data.data if any_data.where or form != "h5mu" else mudata.MuData({"rna": adata})
    path = tmp_path / f"a.{form}"
    getattr(data, f"write_{form}")(path)
    if form == "h5ad":
        back = ad.read_h5ad(path)
    elif form == "h5mu":
        back = mudata.read_h5mu(path)
    else:
        back = mudata.read_zarr(path) if any_data.where else ad.read_zarr(path)
    back = back if isinstance(back, ad.AnnData) else back["rna"]
    assert back.obs["cell_sentence"].tolist() == before
    assert back.obs["cell_sentence_n_genes"].tolist() == adata.obs["cell_sentence_n_genes"].tolist()
    assert back.uns["cell_sentence"]["params"] == adata.uns["cell_sentence"]["params"]
    one, two = (RankFit.from_dict(a.uns["cell_sentence"]["rank_fit"]) for a in (adata, back))
    np.testing.assert_array_equal(one.table, two.table)
    # A categorical is read like any other column.
    c2s.pp.from_sentences(adata)
    c2s.pp.from_sentences(back)
    np.testing.assert_array_equal(
        back.layers["c2s_reconstructed"].toarray(), adata.layers["c2s_reconstructed"].toarray()
    )


def test_scanpys_own_cells():
    adata = sc.datasets.pbmc68k_reduced()
    with pytest.raises(ValueError, match="use_raw=True or layer="):
        c2s.pp.to_sentences(adata)
    c2s.pp.to_sentences(adata, use_raw=True, n_genes=3)
    expression = pd.DataFrame(adata.raw.X.toarray(), index=adata.obs_names, columns=adata.raw.var_names)
    for cell, sentence in adata.obs["cell_sentence"].items():
        top = expression.loc[cell].nlargest(3)
        assert expression.loc[cell, sentence.split()].tolist() == top.tolist()
    assert adata.uns["cell_sentence"]["space"] == "as given"
    assert adata.uns["cell_sentence"]["organism"] == "human"
    fit = adata.uns["cell_sentence"]["rank_fit"]
    assert fit["r2"] > fit["r2_line"] > 0.8


def damaged(adata, what):
    if what == "last value NaN":
        adata.X[-1, adata.X[-1].indices[0]] = np.nan
    elif what == "negative":
        adata.X[-1, adata.X[-1].indices[0]] = -1
    elif what == "names twice":
        adata.var_names = ["A", "A", *adata.var_names[2:]]
    return adata


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize(
    ("what", "arguments", "error", "message"),
    [
        ("last value NaN", {}, ValueError, "NaN"),
        ("negative", {}, ValueError, "use_raw=True or layer="),
        ("names twice", {}, ValueError, "var_names_make_unique"),
        ("", {"ties": "alphabet"}, ValueError, "'hash' or 'random'"),
        ("", {"n_genes": 0}, ValueError, "n_genes=0 must be a whole number from 1 on"),
        ("", {"n_genes": 2.5}, ValueError, "n_genes=2.5"),
        ("", {"chunk_size": 0}, ValueError, "chunk_size=0"),
        ("", {"rng": 1, "random_state": 2}, TypeError, "only one of them"),
        ("", {"layer": "counts"}, KeyError, "no layer 'counts'"),
    ],
)
def test_nothing_half_written(any_data, what, arguments, error, message):
    adata = damaged(any_data.adata, what)
    before = set(adata.obs), set(adata.uns), set(any_data.data.obs)
    with pytest.raises(error, match=message):
        c2s.pp.to_sentences(any_data.data, **{"chunk_size": 11} | arguments, **any_data.where)
    assert (set(adata.obs), set(adata.uns), set(any_data.data.obs)) == before


def test_empty_object():
    with pytest.raises(ValueError, match="nothing in the object"):
        c2s.pp.to_sentences(ad.AnnData(np.zeros((0, 3), dtype=np.float32)))


@pytest.mark.parametrize("n_cells", [1, 2])
def test_one_cell(small, n_cells):
    assert sentences(small[:n_cells].copy(), n_genes=1).tolist() == ["100%25", "CD3E"][:n_cells]


def test_no_counts_at_all(small):
    small.X[:] = 0
    c2s.pp.to_sentences(small)
    assert small.obs["cell_sentence"].tolist() == [""] * 4
    assert small.uns["cell_sentence"]["n_empty"] == 4
    assert np.isnan(small.uns["cell_sentence"]["rank_fit"]["r2"])


def test_better_than_the_line(shared_data):
    adata = ad.read_h5ad(shared_data / "pbmc3k_raw_labelled.h5ad")
    adata.var_names_make_unique()
    c2s.pp.to_sentences(adata, n_genes=200)
    fit = adata.uns["cell_sentence"]["rank_fit"]
    assert (fit["n_cells"], fit["n_cells_held_out"]) == (800, 200)
    assert fit["r2_line"] == pytest.approx(0.890, abs=0.01)
    assert fit["r2"] > 0.965
