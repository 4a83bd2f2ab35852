from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import sc_c2s as c2s
from sc_c2s.pl._pair import open_pair

DEFAULTS = {"key": "c2s_generated", "mod": None, "layer": None, "use_raw": False, "gene_symbols": None}


def pair_of(cells, generated=None, *, groupby="cell_type", **options):
    return open_pair(cells.data, generated, groupby=groupby, **{**DEFAULTS, **cells.where, **options})


def test_the_same_genes_on_one_scale(with_generated):
    adata = with_generated.adata
    pair = pair_of(with_generated)
    assert list(pair.genes) == [f"GENE{i}" for i in [*range(32), *range(36, 40)]]
    counts = adata.X.toarray()
    expected = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))[:, adata.var_names.isin(pair.genes)]
    np.testing.assert_allclose(pair.real.x.toarray(), expected, rtol=1e-5)
    stored = c2s.get.generated(with_generated.data, **with_generated.where)
    np.testing.assert_array_equal(pair.generated.x.toarray(), stored.X.toarray())
    assert pair.real.conditions.tolist() == adata.obs["cell_type"].tolist()
    assert pair.generated.conditions.tolist() == stored.obs["cell_type"].tolist()


def test_other_generated_cells_are_matched_by_name(with_generated):
    stored = c2s.get.generated(with_generated.data, **with_generated.where)
    ours, theirs = pair_of(with_generated), pair_of(with_generated, stored[:, ::-1].copy())
    assert list(theirs.genes) == list(ours.genes)
    np.testing.assert_array_equal(theirs.generated.x.toarray(), ours.generated.x.toarray())
    assert theirs.generated.conditions.tolist() == ours.generated.conditions.tolist()


def test_layers_raw_and_logarithms(with_generated):
    adata, expected = with_generated.adata, pair_of(with_generated).real.x.toarray()
    adata.layers["counts"] = adata.X.copy()
    adata.raw = adata.copy()
    adata.X = adata.X.toarray() - 1  # as scaling does
    for options in ({"layer": "counts"}, {"use_raw": True}):
        np.testing.assert_array_equal(pair_of(with_generated, **options).real.x.toarray(), expected)
    with pytest.raises(ValueError, match="negative values.*use_raw=True or layer="):
        pair_of(with_generated)
    adata.X = np.log1p(adata.layers["counts"].toarray()) / 2
    there = adata.var_names.isin(pair_of(with_generated).genes)
    np.testing.assert_allclose(pair_of(with_generated).real.x.toarray(), adata.X[:, there], rtol=1e-6)


def test_cells_without_a_condition_are_left_out_and_categories_keep_their_order(with_generated):
    adata = with_generated.adata
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.reorder_categories(adata.obs["cell_type"].cat.categories[::-1])
    adata.obs["donor"] = adata.obs["donor"].where(np.arange(60) >= 10)
    pair = pair_of(with_generated, groupby=["cell_type", "donor"])
    assert len(pair.real.conditions) == 50
    assert len(pair.generated.conditions) == 49, "cell 17 has no generated one"
    of = {kind: i for i, kind in enumerate(adata.obs["cell_type"].cat.categories)}
    assert list(pair.colours) == sorted(pair.colours, key=lambda name: (of[name[:-9]], name[-6:]))
    assert list(pair.colours)[0] == "T cell, CD4/CD8 | donor0"
    assert set(pair.real.conditions) == set(pair.colours)


def test_one_condition_where_none_is_asked_for(with_generated):
    pair = pair_of(with_generated, groupby=None)
    assert pair.shared == ["all cells"]
    assert pair.real.of("all cells").shape == (60, 36)


def test_a_column_of_the_whole_mudata(with_generated):
    if not with_generated.where:
        pytest.skip("an AnnData has one obs")
    data, adata = with_generated.data, with_generated.adata
    data.obs["lane"] = pd.Series(np.resize(["x", "y"], 60), index=adata.obs_names).reindex(data.obs_names)
    pair = pair_of(with_generated, groupby="lane")
    assert list(pair.colours) == ["x", "y"]
    np.testing.assert_array_equal(pair.generated.conditions, np.delete(np.resize(["x", "y"], 60), [5, 17]))


def test_conditions_of_one_side(with_generated):
    stored = c2s.get.generated(with_generated.data, **with_generated.where)
    stored.obs["cell_type"] = stored.obs["cell_type"].astype(str).replace("B cell", "A new type")
    pair = pair_of(with_generated, stored)
    assert list(pair.colours) == ["B cell", "CD14+ monocyte", "T cell, CD4/CD8", "A new type"]
    assert pair.shared == ["CD14+ monocyte", "T cell, CD4/CD8"]
    with pytest.raises(ValueError, match=r"no condition of obs\['cell_type'\] in common"):
        pair_of(with_generated, stored[stored.obs["cell_type"] == "A new type"].copy())


def test_colours_that_scanpy_keeps(with_generated):
    adata = with_generated.adata
    adata.uns["cell_type_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    assert list(pair_of(with_generated).colours.values()) == ["#ff0000", "#00ff00", "#0000ff"]
    assert list(pair_of(with_generated, palette=["k", "w", "y"]).colours.values()) == ["#000000", "#ffffff", "#bfbf00"]
    before = dict(adata.uns)
    adata.uns["cell_type_colors"] = ["#ff0000"]  # of other categories
    assert len(set(pair_of(with_generated).colours.values())) == 3
    assert adata.uns.keys() == before.keys()


def test_bad_input(with_generated):
    data, where = with_generated.data, with_generated.where
    stored = c2s.get.generated(data, **where)
    with pytest.raises(KeyError, match="Of the real cells, obs has no column 'nonsense'"):
        pair_of(with_generated, groupby="nonsense")
    with pytest.raises(KeyError, match="Of the generated cells, obs has no column 'cell_type'"):
        pair_of(with_generated, AnnData(stored.X, var=stored.var))
    with pytest.raises(KeyError, match="tl.generate"):
        pair_of(with_generated, key="nonsense")
    stored.var_names = [f"OTHER{i}" for i in range(stored.n_vars)]
    with pytest.raises(ValueError, match="no gene in common"):
        pair_of(with_generated, stored)
