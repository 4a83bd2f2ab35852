"""pp.sentences_to_parquet: the same sentences, in a file, without holding them."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pyarrow.parquet as pq
import pytest

import sc_c2s as c2s


def test_same_as_to_sentences(any_data, tmp_path):
    before = set(any_data.adata.obs), set(any_data.adata.uns)
    assert (
        c2s.pp.sentences_to_parquet(any_data.data, tmp_path / "a.parquet", n_genes=5, chunk_size=7, **any_data.where)
        is None
    )
    assert (set(any_data.adata.obs), set(any_data.adata.uns)) == before
    table = pq.read_table(tmp_path / "a.parquet")
    c2s.pp.to_sentences(any_data.data, n_genes=5, **any_data.where)
    obs = any_data.adata.obs
    assert table.to_pydict() == {
        "cell": obs.index.tolist(),
        "cell_sentence": obs["cell_sentence"].tolist(),
        "n_genes": obs["cell_sentence_n_genes"].tolist(),
    }
    params = json.loads(table.schema.metadata[b"sc_c2s"])
    assert params == any_data.adata.uns["cell_sentence"]["params"]


@pytest.mark.parametrize("compressed", [None, "gzip"])
def test_backed_and_its_views(adata, tmp_path, compressed):
    adata.write_h5ad(tmp_path / "a.h5ad", compression=compressed)
    c2s.pp.to_sentences(adata, n_genes=5)
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    rows = np.arange(adata.n_obs)[::-3]
    for name, data in {"whole": backed, "view": backed[rows]}.items():
        path = tmp_path / f"{name}.parquet"
        c2s.pp.sentences_to_parquet(data, str(path), n_genes=5, chunk_size=8)
        table = pq.read_table(path)
        assert table["cell"].to_pylist() == data.obs_names.tolist()
        assert table["cell_sentence"].to_pylist() == adata.obs.loc[data.obs_names, "cell_sentence"].tolist()


def test_nothing_half_written(adata, tmp_path):
    path = tmp_path / "a.parquet"
    c2s.pp.sentences_to_parquet(adata, path)
    complete = path.read_bytes()
    adata.X[-1, adata.X[-1].indices[0]] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        c2s.pp.sentences_to_parquet(adata, path, chunk_size=7)
    assert path.read_bytes() == complete
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]
