from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sc_c2s as c2s

LABELS = ["T cell, CD4/CD8", "B cell", "B"]
PROBA = np.array([[0.7, 0.2, 0.1], [0.25, 0.35, 0.4], [np.nan] * 3], dtype=np.float32)


@pytest.fixture
def annotated(any_data):
    """The first three cells carry known results: one sure, one called unknown, one that could not be scored."""
    adata = any_data.adata
    proba = np.full((adata.n_obs, 3), np.float32(1 / 3))
    proba[:3] = PROBA
    labels = np.full(adata.n_obs, LABELS[0], dtype=object)
    labels[1:3] = "unknown", None
    adata.obs["c2s_cell_type"] = pd.Categorical(labels, categories=[*LABELS, "unknown"])
    adata.obs["c2s_cell_type_confidence"] = proba.max(axis=1)
    adata.obsm["c2s_cell_type_proba"] = proba
    adata.uns["c2s_cell_type"] = {"labels": np.array(LABELS, dtype=object), "params": {"groupby": "cell_type"}}
    return any_data


def check(table: pd.DataFrame) -> None:
    assert table.columns.tolist() == [
        "label",
        "confidence",
        "runner_up",
        "runner_up_proba",
        "proba_T cell, CD4/CD8",
        "proba_B cell",
        "proba_B",
    ]
    assert table.index[:3].tolist() == ["cell000", "cell001", "cell002"]
    assert table["label"].cat.categories.tolist() == [*LABELS, "unknown"]
    first, second, third = (table.iloc[i] for i in range(3))
    assert (first["label"], first["runner_up"]) == (LABELS[0], "B cell")
    assert (second["label"], second["runner_up"]) == ("unknown", "B cell")
    assert first[["confidence", "runner_up_proba"]].tolist() == pytest.approx([0.7, 0.2])
    assert second[["confidence", "runner_up_proba"]].tolist() == pytest.approx([0.4, 0.35])
    assert third.isna().all()
    np.testing.assert_array_equal(table.filter(like="proba_").iloc[:3], PROBA)


def test_table(annotated):
    check(c2s.get.annotation(annotated.data, **annotated.where))


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_table_after_a_file(annotated, tmp_path: Path, suffix: str):
    path = tmp_path / f"cells.{suffix}"
    getattr(annotated.adata, f"write_{suffix}")(path)
    check(c2s.get.annotation(getattr(ad, f"read_{suffix}")(path)))


@pytest.mark.parametrize("suffix", ["h5mu", "zarr"])
def test_table_after_a_mudata_file(annotated, tmp_path: Path, suffix: str):
    if not annotated.where:
        pytest.skip("the file holds a MuData")
    import mudata

    path = tmp_path / f"cells.{suffix}"
    annotated.data.write(path) if suffix == "h5mu" else annotated.data.write_zarr(path)
    check(c2s.get.annotation(getattr(mudata, f"read_{suffix}")(path), mod="rna"))


def test_labels_that_became_strings_are_categorical_again(annotated):
    annotated.adata.obs["c2s_cell_type"] = annotated.adata.obs["c2s_cell_type"].astype(object)
    check(c2s.get.annotation(annotated.data, **annotated.where))


def test_one_label_has_no_runner_up(adata):
    adata.obs["c2s_cell_type"] = pd.Categorical(["B"] * adata.n_obs)
    adata.obsm["c2s_cell_type_proba"] = np.ones((adata.n_obs, 1), dtype=np.float32)
    adata.uns["c2s_cell_type"] = {"labels": np.array(["B"], dtype=object)}
    table = c2s.get.annotation(adata)
    assert table["runner_up"].isna().all()
    assert (table["confidence"] == 1).all()


def test_other_key(annotated):
    adata = annotated.adata
    for where, name in (
        (adata.obs, "c2s_cell_type"),
        (adata.obs, "c2s_cell_type_confidence"),
        (adata.obsm, "c2s_cell_type_proba"),
        (adata.uns, "c2s_cell_type"),
    ):
        where[name.replace("c2s_cell_type", "mine")] = where[name]
        del where[name]
    check(c2s.get.annotation(annotated.data, key="mine", **annotated.where))
    with pytest.raises(KeyError, match="no annotation 'c2s_cell_type'.*tl.annotate"):
        c2s.get.annotation(annotated.data, **annotated.where)


def test_labels_that_do_not_fit_the_table(annotated):
    annotated.adata.uns["c2s_cell_type"]["labels"] = np.array(["B"], dtype=object)
    with pytest.raises(ValueError, match="3 columns.*names 1"):
        c2s.get.annotation(annotated.data, **annotated.where)
