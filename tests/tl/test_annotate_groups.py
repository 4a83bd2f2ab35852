"""``tl.annotate(level="group")``: one label for all cells of a group, which are shown together."""

from __future__ import annotations

from functools import partial

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest

import sc_c2s as c2s
from sc_c2s.models import nano
from sc_c2s.sentences.recipe import Recipe

KEY, PROBA = "c2s_cell_type", "c2s_cell_type_proba"
TISSUES = ["GENE0", "GENE5", "GENE9"]
"""Labels called like a marker of each type: the mock counts how often a label stands in the prompt."""
OF_TYPE = dict(zip(["B cell", "CD14+ monocyte", "T cell, CD4/CD8"], TISSUES, strict=True))


def annotate(any_data, engine, **how):
    given = {"level": "group", "group_key": "cell_type", "labels": TISSUES, "groupby": "tissue", "n_cells": 6}
    c2s.tl.annotate(any_data.data, model=engine, **{**given, **how}, **any_data.where)
    return any_data.adata


def hear(engine):
    """Keep the prompts that are scored."""
    heard, score = [], engine.score

    def listen(prompts, answers, **how):
        heard.extend(prompts)
        return score(prompts, answers, **how)

    engine.score = listen
    return heard


def test_all_cells_of_a_group_get_its_label(any_data, parrot):
    adata = annotate(any_data, parrot(), key_added="tissue")
    assert adata.obs["tissue"].astype(str).tolist() == [OF_TYPE[kind] for kind in adata.obs["cell_type"]]
    assert adata.obs["tissue"].cat.categories.tolist() == TISSUES
    proba = adata.obsm["tissue_proba"]
    assert proba.dtype == np.float32
    assert np.allclose(proba.sum(axis=1), 1)
    for kind in OF_TYPE:
        rows = proba[(adata.obs["cell_type"] == kind).to_numpy()]
        assert (rows == rows[0]).all()
    np.testing.assert_array_equal(adata.obs["tissue_confidence"], proba.max(axis=1))
    groups = adata.uns["tissue"]["groups"]
    assert groups.index.tolist() == list(OF_TYPE)
    assert groups["label"].tolist() == TISSUES
    assert groups["n_cells"].tolist() == [6, 6, 6]
    assert groups["confidence"].tolist() == pytest.approx(
        [adata.obs["tissue_confidence"][adata.obs["cell_type"] == kind].iloc[0] for kind in OF_TYPE]
    )
    params = adata.uns["tissue"]["params"]
    assert (params["level"], params["group_key"], params["groupby"]) == ("group", "cell_type", "tissue")
    if any_data.where:
        assert any_data.data.obs["rna:tissue"].dropna().tolist() == adata.obs["tissue"].tolist()


def test_the_prompt_holds_the_cells_and_asks_for_the_label(adata, parrot):
    engine = parrot()
    heard = hear(engine)
    c2s.tl.annotate(
        adata, model=engine, level="group", group_key="cell_type", labels=["a", "b"], groupby="cell_origin", n_cells=4
    )
    assert len(heard) == 3
    lines = heard[0].splitlines()
    assert lines[0].startswith("4 ")
    assert lines[-1] == "The cell origin of these cells is:"
    shown = {tuple(line.partition(": ")[2].split()) for line in lines[1:-1]}
    of_type, genes = adata[adata.obs["cell_type"] == "B cell"], np.asarray(adata.var_names)
    written = Recipe(n_genes=50).write(of_type.X, genes, np.asarray(of_type.obs_names), vocabulary=genes)
    assert len(shown) == 4
    assert shown <= {tuple(sentence.split()) for sentence in written}


def test_cells_in_no_group_get_no_label(any_data, parrot):
    any_data.adata.obs["cell_type"] = any_data.adata.obs["cell_type"].mask(np.arange(60) < 4)
    adata = annotate(any_data, parrot())
    assert adata.obs[KEY].isna().tolist() == [True] * 4 + [False] * 56
    assert np.isnan(adata.obsm[PROBA][:4]).all()
    assert not np.isnan(adata.obsm[PROBA][4:]).any()
    assert adata.uns[KEY]["n_failed"] == 4
    failures = adata.uns[KEY]["failures"]
    assert failures.index.tolist() == [f"cell{i:03d}" for i in range(4)]
    assert set(failures["reason"]) == {"in no group"}


def test_a_group_without_counts_gets_no_label(adata, parrot):
    x = adata.X.toarray()
    x[(adata.obs["cell_type"] == "B cell").to_numpy()] = 0
    x[4] = 0  # one cell of another group
    adata.X = x
    engine = parrot()
    heard = hear(engine)
    c2s.tl.annotate(adata, model=engine, level="group", group_key="cell_type", labels=TISSUES, n_cells=50)
    assert len(heard) == 2
    groups = adata.uns[KEY]["groups"]
    assert groups["n_cells"].tolist() == [0, 19, 20]
    assert groups["label"].isna().tolist() == [True, False, False]
    assert set(adata.uns[KEY]["failures"]["reason"]) == {"no count in a gene that the model reads"}
    assert adata.obs[KEY].isna().sum() == 20


def test_a_group_that_the_model_is_unsure_of_is_unknown(adata, parrot):
    engine = parrot()
    engine.score = lambda prompts, answers, **how: np.log([[0.8, 0.1, 0.1], [0.4, 0.3, 0.3], [0.1, 0.1, 0.8]])
    c2s.tl.annotate(adata, model=engine, level="group", group_key="cell_type", labels=TISSUES, unknown_below=0.5)
    assert adata.uns[KEY]["groups"]["label"].tolist() == ["GENE0", "unknown", "GENE9"]
    assert set(adata.obs[KEY][adata.obs["cell_type"] == "CD14+ monocyte"]) == {"unknown"}
    assert adata.uns[KEY]["groups"]["confidence"].tolist() == pytest.approx([0.8, 0.4, 0.8])


def test_anndata_and_mudata_say_the_same(adata, mdata, parrot):
    how = {"level": "group", "group_key": "donor", "labels": TISSUES, "rng": 3}
    c2s.tl.annotate(adata, model=parrot(), **how)
    c2s.tl.annotate(mdata, mod="rna", model=parrot(), **how)
    pd.testing.assert_frame_equal(mdata["rna"].uns[KEY]["groups"], adata.uns[KEY]["groups"])
    np.testing.assert_array_equal(mdata["rna"].obsm[PROBA], adata.obsm[PROBA])


def test_other_groups_and_the_order_of_the_cells_do_not_matter(adata, parrot):
    engines = [parrot(), parrot(), parrot()]
    heard = [hear(engine) for engine in engines]
    how = {"level": "group", "group_key": "cell_type", "labels": TISSUES, "n_cells": 5}
    turned = adata[np.random.default_rng(1).permutation(60)].copy()
    alone = adata[adata.obs["cell_type"] == "T cell, CD4/CD8"].copy()
    for data, engine in zip((adata, turned, alone), engines, strict=True):
        c2s.tl.annotate(data, model=engine, **how)
    assert heard[0] == heard[1]
    assert heard[0][2] == heard[2][0]
    pd.testing.assert_frame_equal(adata.uns[KEY]["groups"], turned.uns[KEY]["groups"])


def test_the_seed_draws_the_cells(adata, parrot):
    engines = [parrot(), parrot(), parrot()]
    heard = [hear(engine) for engine in engines]
    for engine, seed in zip(engines, (0, 0, 1), strict=True):
        c2s.tl.annotate(adata, model=engine, level="group", group_key="cell_type", labels=TISSUES, n_cells=5, rng=seed)
    assert heard[0] == heard[1] != heard[2]


def test_genes_are_left_out_until_the_prompt_fits(adata, parrot):
    engine = parrot(context=250)
    heard = hear(engine)
    c2s.tl.annotate(adata, model=engine, level="group", group_key="cell_type", labels=TISSUES, n_cells=10)
    n_genes = adata.uns[KEY]["groups"]["n_genes"].unique()
    assert len(n_genes) == 1
    longest = engine.count(heard).max()
    assert longest + 64 <= 250 < longest + 10 + 64, "one gene more would not have fitted"
    assert f"the {n_genes[0]} most active genes" in heard[0]


def test_what_cannot_fit_is_refused(adata, parrot):
    with pytest.raises(
        ValueError, match="10 cells with 5 genes each do not fit into the model's context of 100 tokens"
    ):
        c2s.tl.annotate(
            adata, model=parrot(context=100), level="group", group_key="cell_type", labels=TISSUES, n_cells=10
        )
    assert KEY not in adata.obs


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_results_survive_a_file(adata, parrot, tmp_path, suffix):
    adata.obs["cell_type"] = adata.obs["cell_type"].mask(np.arange(60) < 4)
    engine = parrot()
    engine.score = lambda prompts, answers, **how: np.array([[0.0, 1, 2], [np.nan] * 3, [2, 0, 1]])
    c2s.tl.annotate(adata, model=engine, level="group", group_key="cell_type", labels=TISSUES)
    assert adata.uns[KEY]["groups"]["label"].isna().tolist() == [False, True, False]
    getattr(adata, f"write_{suffix}")(tmp_path / "cells")
    back = getattr(anndata, f"read_{suffix}")(tmp_path / "cells")
    pd.testing.assert_frame_equal(back.uns[KEY]["groups"], adata.uns[KEY]["groups"], check_index_type=False)
    pd.testing.assert_series_equal(back.obs[KEY], adata.obs[KEY])
    assert back.uns[KEY]["params"]["group_key"] == "cell_type"


def test_results_survive_an_h5mu_file(mdata, parrot, tmp_path):
    c2s.tl.annotate(mdata, mod="rna", model=parrot(), level="group", group_key="cell_type", labels=TISSUES)
    mdata.write_h5mu(tmp_path / "cells.h5mu")
    back = mudata.read_h5mu(tmp_path / "cells.h5mu")
    assert back["rna"].uns[KEY]["groups"]["label"].tolist() == TISSUES
    assert back.obs[f"rna:{KEY}"].notna().sum() == 60


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"level": "tissue"}, ValueError, "There is no level 'tissue'; choose from 'cell', 'group'"),
        ({"group_key": None}, ValueError, "group_key= is missing: name the column of obs"),
        ({"level": "cell"}, ValueError, "group_key= and n_cells= are for level='group'"),
        ({"level": "cell", "group_key": None, "n_cells": 5}, ValueError, "are for level='group'"),
        ({"group_key": "nothing"}, KeyError, "no column 'nothing'"),
        ({"group_key": "none"}, ValueError, "No cell is in a group"),
        ({"n_cells": 0}, ValueError, "n_cells=0 shows no cell"),
        ({"labels": None}, ValueError, "no labels of its own"),
    ],
)
def test_bad_input_is_told_in_a_sentence(adata, parrot, how, error, message):
    adata.obs["none"] = np.nan
    before = set(adata.obs)
    with pytest.raises(error, match=message) as caught:
        c2s.tl.annotate(adata, model=parrot(), **{"level": "group", "group_key": "cell_type", "labels": TISSUES, **how})
    assert "\n" not in str(caught.value)
    assert set(adata.obs) == before
    assert not adata.uns


def test_a_nano_reads_one_cell_at_a_time(adata, tmp_path, monkeypatch):
    monkeypatch.setattr(nano, "build", partial(nano.build, width=32, n_layers=1, n_heads=2))
    c2s.tl.finetune(adata, groupby="cell_type", output_dir=tmp_path / "nano", n_epochs=1, device="cpu")
    with pytest.raises(ValueError, match="family 'nano' reads one cell at a time: use a pretrained language model"):
        c2s.tl.annotate(adata, model=tmp_path / "nano", level="group", group_key="donor", device="cpu")


def test_a_real_model_says_the_same_in_any_batch(adata, pretrained):
    for batch_size in (1, 3):
        c2s.tl.annotate(
            adata,
            model=pretrained,
            level="group",
            group_key="cell_type",
            labels=["blood", "spleen", "lung"],
            groupby="tissue",
            n_cells=3,
            batch_size=batch_size,
            key_added=f"by_{batch_size}",
            device="cpu",
        )
    np.testing.assert_allclose(adata.obsm["by_1_proba"], adata.obsm["by_3_proba"], atol=1e-5)
    assert len(np.unique(adata.obsm["by_1_proba"].round(7), axis=0)) == 3, "another row for each group"


@pytest.mark.parametrize("gene_tokens", [True, False])
def test_a_model_trained_on_cells_reads_groups_with_its_own_genes(adata, pretrained, tmp_path, gene_tokens):
    path = tmp_path / "model"
    c2s.tl.finetune(
        adata,
        groupby="cell_type",
        model=pretrained,
        output_dir=path,
        gene_tokens=gene_tokens,
        n_genes=6,
        n_top_genes=12,
        n_epochs=1,
        device="cpu",
    )
    c2s.tl.annotate(adata, model=path, level="group", group_key="donor", device="cpu", n_cells=3)
    groups = adata.uns[KEY]["groups"]
    assert groups["n_genes"].tolist() == [6] * len(groups)
    assert groups.index.tolist() == sorted(adata.obs["donor"].unique())
    assert list(adata.uns[KEY]["labels"]) == sorted(adata.obs["cell_type"].cat.categories)
    assert np.allclose(adata.obsm[PROBA].sum(axis=1), 1, atol=1e-6)
