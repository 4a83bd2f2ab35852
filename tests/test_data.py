"""The door: the same cells come out whatever they are stored in, and results go where users look."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sc_c2s.data import as_labels, combined, open_cells

STORES = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "csr array": sparse.csr_array}
ROWS = np.array([40, 3, 17, 18, 5])
COLUMNS = np.array([30, 2, 2 + 9])


def stored(adata, store):
    adata = adata.copy()
    dense = adata.X.toarray()
    adata.X = STORES[store](dense)
    adata.layers["twice"] = STORES[store](2 * dense)
    adata.raw = adata.copy()
    return adata


def read(data, size=7, **where):
    cells = open_cells(data, writable=False, **where)
    chunks = list(cells.chunks(size))
    assert [rows.start for rows, _ in chunks] == list(range(0, cells.n_obs, size))
    assert all(x.dtype == np.float32 and x.has_canonical_format and (x.data != 0).all() for _, x in chunks)
    return np.vstack([x.toarray() for _, x in chunks])


@pytest.mark.parametrize("store", STORES)
def test_in_memory(adata, store):
    dense = adata.X.toarray()
    adata = stored(adata, store)
    np.testing.assert_array_equal(read(adata), dense)
    np.testing.assert_array_equal(read(adata, layer="twice"), 2 * dense)
    np.testing.assert_array_equal(read(adata, use_raw=True), dense)
    view = adata[ROWS, COLUMNS]
    np.testing.assert_array_equal(read(view, size=2), dense[np.ix_(ROWS, COLUMNS)])
    np.testing.assert_array_equal(read(view, size=2, layer="twice"), 2 * dense[np.ix_(ROWS, COLUMNS)])
    np.testing.assert_array_equal(read(view, size=2, use_raw=True), dense[ROWS])
    np.testing.assert_array_equal(open_cells(adata).matrix().toarray(), dense)


@pytest.mark.parametrize("store", ["dense", "csr", "csc"])
def test_on_disk(adata, store, tmp_path):
    dense = adata.X.toarray()
    stored(adata, store).write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    np.testing.assert_array_equal(read(backed), dense)
    np.testing.assert_array_equal(read(backed, use_raw=True), dense)
    np.testing.assert_array_equal(read(backed, layer="twice"), 2 * dense)
    for rows in (ROWS, np.arange(20, 9, -1), slice(5, 25), dense.sum(axis=1) > np.median(dense.sum(axis=1))):
        view = backed[rows, COLUMNS]
        np.testing.assert_array_equal(read(view), dense[rows][:, COLUMNS])
        np.testing.assert_array_equal(read(view, use_raw=True), dense[rows])


@pytest.mark.parametrize("store", ["dense", "csr", "csc"])
def test_backed_reads_no_more_than_a_chunk(adata, store, tmp_path, monkeypatch):
    stored(adata, store).write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    whole = backed.X
    seen = []
    kind = type(whole)
    plain = kind.__getitem__

    def spy(self, index):
        block = plain(self, index)
        seen.append(np.prod(block.shape))
        return block

    monkeypatch.setattr(kind, "__getitem__", spy)
    monkeypatch.setattr("sc_c2s.data._CSC_BYTES", 8 * 500)
    monkeypatch.setattr("sc_c2s.data._CSC_CELLS", 5 * adata.n_obs)
    read(backed, size=5)
    assert max(seen) <= 5 * max(adata.shape)


def test_rows_of_a_file_by_columns_come_in_large_blocks(adata, tmp_path, monkeypatch):
    dense = adata.X.toarray()
    stored(adata, "csc").write_h5ad(tmp_path / "a.h5ad")
    for n_bytes in (8, 8 * 400, 2**28):
        monkeypatch.setattr("sc_c2s.data._CSC_BYTES", n_bytes)
        backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
        cells = open_cells(backed)
        np.testing.assert_array_equal(cells.matrix().toarray(), dense)
        np.testing.assert_array_equal(np.vstack([x.toarray() for _, x in cells.chunks(3)]), dense)


def test_dask(adata):
    dask = pytest.importorskip("dask.array")
    dense = adata.X.toarray()
    adata.X = dask.from_array(dense, chunks=(11, adata.n_vars))
    np.testing.assert_array_equal(read(adata), dense)


class Delayed:
    """A matrix whose rows are computed on demand, as dask's are."""

    def __init__(self, x):
        self.x, self.shape, self.dtype, self.ndim = x, x.shape, x.dtype, 2

    def __getitem__(self, rows):
        return Delayed(self.x[rows])

    def compute(self):
        return self.x


def test_rows_computed_on_demand(adata):
    from dataclasses import replace

    cells = replace(open_cells(adata), _matrix=Delayed(adata.X.toarray()))
    np.testing.assert_array_equal(cells.matrix().toarray(), adata.X.toarray())


def test_a_matrix_of_an_unknown_kind_is_named(adata):
    from dataclasses import replace

    cells = replace(open_cells(adata), _matrix=list(range(adata.n_obs)))
    with pytest.raises(NotImplementedError, match="Cannot read cells from list"):
        cells.matrix()


def test_entries_stored_twice_and_zeros(adata):
    x = sparse.csr_matrix(
        (np.array([1, 2, 0, 5], dtype=np.float32), np.array([3, 3, 1, 0]), np.array([0, 3, 4])), shape=(2, 4)
    )
    one = ad.AnnData(x, var=pd.DataFrame(index=list("ABCD")))
    np.testing.assert_array_equal(read(one), [[0, 0, 0, 3], [5, 0, 0, 0]])
    assert x.nnz == 4  # the user's matrix is left as it was


def test_any_data(any_data):
    cells = open_cells(any_data.data, **any_data.where)
    np.testing.assert_array_equal(cells.matrix().toarray(), any_data.adata.X.toarray())
    assert cells.params["mod"] == any_data.where.get("mod")
    assert cells.n_obs == len(cells.obs_names) == 60
    assert cells.n_vars == 40


@pytest.mark.parametrize("as_column", [True, False])
def test_mask(adata, as_column):
    adata.var["keep"] = np.arange(adata.n_vars) % 3 == 0
    cells = open_cells(adata, mask_var="keep" if as_column else adata.var["keep"].to_numpy())
    assert cells.genes.tolist() == adata.var_names[::3].tolist()
    np.testing.assert_array_equal(cells.matrix().toarray(), adata.X.toarray()[:, ::3])
    (_, whole), *_ = cells.chunks(all_genes=True)
    np.testing.assert_array_equal(whole.toarray(), adata.X.toarray())
    assert cells.params["mask_var"] == ("keep" if as_column else "array")


def test_gene_symbols(adata):
    adata.var["symbol"] = adata.var_names
    adata.var_names = adata.var["ensembl"].to_numpy()
    assert open_cells(adata, gene_symbols="symbol").genes.tolist() == adata.var["symbol"].tolist()
    with pytest.raises(ValueError, match=r"Ensembl ids .*gene_symbols=; its columns are: ensembl, symbol"):
        open_cells(adata)
    with pytest.raises(KeyError, match="no column 'name' for gene_symbols"):
        open_cells(adata, gene_symbols="name")
    adata.var.loc[adata.var_names[:2], "symbol"] = "CD4"
    with pytest.raises(ValueError, match=r"more than once \(for example 'CD4'\): repair adata.var\['symbol'\]"):
        open_cells(adata, gene_symbols="symbol")
    # Genes that are left out need no name.
    open_cells(adata, gene_symbols="symbol", mask_var=np.arange(adata.n_vars) > 0)


def test_duplicate_names(adata):
    adata.var_names = ["A", "A", *adata.var_names[2:]]
    with pytest.raises(ValueError, match=r"'A'.*var_names_make_unique\(\)"):
        open_cells(adata)


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ({"mod": "rna"}, ValueError, "this is an AnnData"),
        ({"layer": "counts"}, KeyError, "no layer 'counts'; there are: none"),
        ({"use_raw": True}, ValueError, "adata.raw, which is not set"),
        ({"use_raw": True, "layer": "counts"}, ValueError, "exclude each other"),
        ({"mask_var": "keep"}, KeyError, "no column 'keep' for mask_var"),
        ({"mask_var": np.ones(3, dtype=bool)}, ValueError, "one boolean for each of the 40 genes"),
        ({"mask_var": np.arange(40)}, ValueError, "one boolean for each"),
        ({"mask_var": np.zeros(40, dtype=bool)}, ValueError, "leaves no gene"),
    ],
)
def test_wrong_arguments(adata, where, error, message):
    with pytest.raises(error, match=message):
        open_cells(adata, **where)


def test_wrong_modality(mdata):
    with pytest.raises(ValueError, match="needs mod=, one of 'rna', 'prot'"):
        open_cells(mdata)
    with pytest.raises(KeyError, match="no modality 'atac'; it has 'rna', 'prot'"):
        open_cells(mdata, mod="atac")


def test_neither_anndata_nor_mudata():
    with pytest.raises(TypeError, match="not DataFrame"):
        open_cells(pd.DataFrame())


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_nothing_in_it(shape):
    with pytest.raises(ValueError, match=f"{shape[0]} cells and {shape[1]} genes"):
        open_cells(ad.AnnData(np.zeros(shape, dtype=np.float32)))


def test_no_matrix(adata):
    bare = ad.AnnData(obs=adata.obs, var=adata.var)
    with pytest.raises(ValueError, match="has no X"):
        open_cells(bare)
    assert open_cells(bare, readable=False).n_vars == adata.n_vars


@pytest.mark.parametrize("store", ["dense", "csr", "csc"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(adata, store, value):
    adata = stored(adata, store)
    dense = adata.X if store == "dense" else adata.X.toarray()
    dense[50, 3] = value
    adata.X = STORES[store](dense)
    with pytest.raises(ValueError, match="^X holds NaN or infinite"):
        read(adata)
    read(adata, layer="twice")


def test_scaled_values(adata):
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X.toarray() - 1
    with pytest.raises(ValueError, match=r"use_raw=True or layer=… \(there are: counts\)"):
        read(adata)
    adata.layers["scaled"] = adata.X
    with pytest.raises(ValueError, match=r"layers\['scaled'\] holds negative"):
        read(adata, layer="scaled")


def test_columns_of_obs(any_data):
    cells = open_cells(any_data.data, **any_data.where)
    assert cells.obs("cell_type").tolist() == any_data.adata.obs["cell_type"].tolist()
    with pytest.raises(KeyError, match="no column 'leiden'; its columns are: cell_type, donor"):
        cells.obs("leiden")


def test_columns_of_the_whole_mudata(mdata):
    mdata.obs["cluster"] = [f"c{i}" for i in range(mdata.n_obs)]
    mdata.obs["rna:score"] = np.arange(mdata.n_obs)
    cells = open_cells(mdata, mod="rna")
    assert cells.obs("cluster").tolist() == mdata.obs.loc[mdata["rna"].obs_names, "cluster"].tolist()
    assert cells.obs("score").tolist() == mdata.obs.loc[mdata["rna"].obs_names, "rna:score"].tolist()


def results(n):
    return {
        "obs": {
            "text": np.array([f"A B{i}" for i in range(n)], dtype=object),
            "label": pd.Categorical.from_codes(np.arange(n) % 2, ["x/y", "z, w"]),
            "number": np.arange(n, dtype=np.int32),
        },
        "obsm": {"table": np.ones((n, 2), dtype=np.float32)},
        "uns": {"about": {"params": {"layer": None, "n": 3}}},
    }


def test_write(any_data):
    cells = open_cells(any_data.data, **any_data.where)
    cells.write(**results(60), layers={"double": any_data.adata.X * 2})
    adata = any_data.adata
    assert adata.obs["text"].dtype == object
    assert adata.obs["text"].iloc[7] == "A B7"
    assert adata.obs["label"].cat.categories.tolist() == ["x/y", "z, w"]
    assert adata.obs["number"].dtype == np.int32
    assert adata.obsm["table"].shape == (60, 2)
    assert adata.layers["double"].sum() == 2 * adata.X.sum()
    assert cells.result() is None
    if any_data.where:
        whole = any_data.data.obs
        assert whole.loc[adata.obs_names, "rna:text"].tolist() == adata.obs["text"].tolist()
        assert whole.loc["protein_only", ["rna:text", "rna:label", "rna:number"]].isna().all()


def test_copy(any_data):
    cells = open_cells(any_data.data, copy=True, **any_data.where)
    cells.write(**results(60))
    copied = cells.result()
    assert type(copied) is type(any_data.data)
    assert "text" not in any_data.adata.obs
    assert "about" not in any_data.adata.uns
    assert "text" in (copied["rna"] if any_data.where else copied).obs


def test_write_into_a_view(any_data):
    whole = any_data.data
    view = whole[whole.obs_names[:20]]
    cells = open_cells(view, **any_data.where)
    with pytest.warns(ad.ImplicitModificationWarning):
        cells.write(**results(cells.n_obs))
    assert "text" in (view["rna"] if any_data.where else view).obs
    assert "text" not in any_data.adata.obs


def test_backed_objects_that_cannot_take_results(adata, tmp_path):
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(ValueError, match="copy=True would read the whole file"):
        open_cells(backed, copy=True)
    with pytest.raises(ValueError, match="view of a backed object cannot take results"):
        open_cells(backed[:10])


def test_names_of_a_mudata_must_be_unique(mdata):
    mdata["rna"].obs_names = ["same", "same", *mdata["rna"].obs_names[2:]]
    with pytest.raises(ValueError, match=r"obs_names_make_unique\(\)"):
        open_cells(mdata, mod="rna")


def test_labels_of_several_columns_are_joined() -> None:
    """Whole numbers stay whole where one is missing, and a cell that lacks one value has no label."""
    columns = [pd.Series(["a b", "c", None], dtype="category"), pd.Series([1.0, np.nan, 2.0])]
    assert combined([as_labels(column) for column in columns]).tolist()[:1] == ["a b | 1"]
    assert combined([as_labels(column) for column in columns]).isna().tolist() == [False, True, True]
    assert combined([as_labels(columns[1])]).tolist()[0] == "1"
