from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sc_c2s as c2s


def check(cells: ad.AnnData, adata: ad.AnnData, key: str = "c2s_generated") -> None:
    """The generated cells of an object, as its own slots hold them."""
    made = adata.obs[f"{key}_sentence"].notna().to_numpy()
    names = list(adata.uns[key]["var_names"])
    assert cells.obs_names.tolist() == adata.obs_names[made].tolist()
    assert cells.var_names.tolist() == [name for name in adata.var_names if name in names]
    assert cells.X.dtype == np.float32
    expected = pd.DataFrame(adata.obsm[key].toarray()[made], columns=names)[cells.var_names]
    np.testing.assert_array_equal(cells.X.toarray(), expected)
    pd.testing.assert_frame_equal(cells.obs, adata.obs[made])
    assert cells.uns[key]["space"] == "log1p CP10k"
    assert list(cells.uns[key]["params"]["groupby"]) == ["cell_type"]
    assert "var_names" not in cells.uns[key]


def test_cells_that_were_generated_over_genes_at_hand(with_generated):
    adata = with_generated.adata
    cells = c2s.get.generated(with_generated.data, **with_generated.where)
    check(cells, adata)
    assert cells.shape == (58, 36)
    assert "cell005" not in cells.obs_names
    assert "ELSEWHERE" not in cells.var_names
    # Column 0 of what is stored is the last gene.
    assert cells[:, adata.var_names[-1]].X[0, 0] == adata.obsm["c2s_generated"][0, 0]


def test_nothing_is_shared_with_the_real_cells(with_generated):
    adata = with_generated.adata
    before = adata.copy()
    cells = c2s.get.generated(with_generated.data, **with_generated.where)
    cells.X.data[:] = -1
    cells.obs["cell_type"] = "none"
    cells.uns["c2s_generated"]["params"]["groupby"].append("donor")
    check(c2s.get.generated(with_generated.data, **with_generated.where), before)


def test_fewer_cells_and_genes_in_another_order(with_generated):
    part = with_generated.adata[[30, 5, 2, 17, 40], ["GENE7", "GENE39", "GENE34", "GENE1"]]
    cells = c2s.get.generated(part)
    assert cells.obs_names.tolist() == ["cell030", "cell002", "cell040"]
    assert cells.var_names.tolist() == ["GENE7", "GENE39", "GENE1"]
    check(cells, part)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_the_same_from_a_file(with_generated, tmp_path: Path, suffix: str):
    path = tmp_path / f"cells.{suffix}"
    adata = with_generated.adata
    getattr(adata.copy(), f"write_{suffix}")(path)
    cells = c2s.get.generated(getattr(ad, f"read_{suffix}")(path))
    cells.obs["c2s_generated_sentence"] = cells.obs["c2s_generated_sentence"].astype(object)
    check(cells, adata)


@pytest.mark.parametrize("suffix", ["h5mu", "zarr"])
def test_the_same_from_a_mudata_file(with_generated, tmp_path: Path, suffix: str):
    if not with_generated.where:
        pytest.skip("the file holds a MuData")
    import mudata

    path = tmp_path / f"cells.{suffix}"
    data, adata = with_generated.data, with_generated.adata.copy()
    data.write(path) if suffix == "h5mu" else data.write_zarr(path)
    cells = c2s.get.generated(getattr(mudata, f"read_{suffix}")(path), mod="rna")
    cells.obs["c2s_generated_sentence"] = cells.obs["c2s_generated_sentence"].astype(object)
    check(cells, adata)


def test_an_empty_sentence_is_a_cell_without_genes(with_generated):
    with_generated.adata.obs.loc["cell005", "c2s_generated_sentence"] = ""
    cells = c2s.get.generated(with_generated.data, **with_generated.where)
    assert cells.n_obs == 59
    assert cells["cell005"].X.nnz == 0


def test_genes_known_by_their_symbols(with_generated):
    """Cells generated with `gene_symbols="symbol"`, of an object whose `var_names` are ids."""
    adata = with_generated.adata
    check_names = c2s.get.generated(with_generated.data, **with_generated.where).var_names
    adata.var["symbol"] = adata.var_names.to_numpy()
    adata.var_names = adata.var["ensembl"].to_numpy()
    adata.uns["c2s_generated"]["params"]["gene_symbols"] = "symbol"
    assert c2s.get.generated(with_generated.data, **with_generated.where).var_names.tolist() == check_names.tolist()


def test_other_key(with_generated):
    adata = with_generated.adata
    adata.obs["mine_sentence"] = adata.obs.pop("c2s_generated_sentence")
    adata.obsm["mine"] = adata.obsm.pop("c2s_generated")
    adata.uns["mine"] = adata.uns.pop("c2s_generated")
    check(c2s.get.generated(with_generated.data, key="mine", **with_generated.where), adata, "mine")
    with pytest.raises(KeyError, match="no generated cells 'c2s_generated' here.*tl.generate.*key="):
        c2s.get.generated(with_generated.data, **with_generated.where)


def test_bad_input(with_generated):
    data, where, adata = with_generated.data, with_generated.where, with_generated.adata
    with pytest.raises(ValueError, match="For none of these 2 cells was a cell generated"):
        c2s.get.generated(adata[[5, 17]])
    with pytest.raises(ValueError, match="None of the 2 genes at hand was generated.*GENE39"):
        c2s.get.generated(adata[:, ["GENE34", "GENE35"]])
    adata.uns["c2s_generated"]["var_names"] = adata.uns["c2s_generated"]["var_names"][:3]
    with pytest.raises(ValueError, match="37 columns and .* names 3; run tl.generate again"):
        c2s.get.generated(data, **where)
