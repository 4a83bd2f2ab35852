"""The main job from end to end, on cells small enough for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from sc_c2s import demo
from sc_c2s.get import annotation as tidy
from sc_c2s.metrics import annotation
from sc_c2s.models import directory, nano

METHODS = ["sc_c2s nano", "logistic regression", "nearest centroid", "majority class"]


@pytest.fixture(scope="module", autouse=True)
def tiny_nano() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano, "build", partial(nano.build, width=32, n_layers=1, n_heads=2))
        yield


@pytest.fixture(scope="module")
def done(make_cells, tiny_nano, tmp_path_factory) -> tuple[AnnData, demo.Demo]:
    adata = make_cells(90)
    adata.obs["cell_type"] = adata.obs["cell_type"].mask(np.arange(90) < 3)
    out = tmp_path_factory.mktemp("demo") / "out"
    return adata, demo.run(adata, out, groupby="cell_type", title="Cells <& sentences>", n_epochs=6, learning_rate=1e-2)


def test_the_table(done) -> None:
    adata, result = done
    assert list(result.table.index) == METHODS
    assert set(result.table["n"]) == {(adata.obs["c2s_split"] == "test").sum()}
    assert result.table.loc["logistic regression", "accuracy"] > 0.8, "every type has four genes of its own"
    test = (adata.obs["c2s_split"] == "test").to_numpy()
    seen = adata.obs["cell_type"][~test].value_counts().idxmax()
    share = (adata.obs["cell_type"][test] == seen).mean()
    assert result.table.loc["majority class", "accuracy"] == pytest.approx(share)


def test_the_scores_are_those_of_the_written_file(done) -> None:
    _, result = done
    stored = anndata.read_h5ad(result.annotated)
    test = (stored.obs["c2s_split"] == "test").to_numpy()
    proba = pd.DataFrame(stored.obsm["c2s_cell_type_proba"][test], columns=list(stored.uns["c2s_cell_type"]["labels"]))
    scores = annotation(
        stored.obs["cell_type"][test].to_numpy(), stored.obs["c2s_cell_type"][test].to_numpy(), proba=proba
    )
    for name, value in scores.items():
        assert result.table.loc["sc_c2s nano", name] == pytest.approx(value, abs=1e-6)
    assert {"cell_sentence", "c2s_cell_type_confidence"} <= set(stored.obs)
    assert "X_umap" in stored.obsm


def test_the_model_is_the_one_that_annotated(done) -> None:
    adata, result = done
    card = directory.read(result.model)
    reported = result.table.loc["sc_c2s nano"]
    assert card.metrics["test"]["accuracy"] == reported["accuracy"]
    assert card.metrics["test"]["log_loss"] == pytest.approx(reported["log_loss"], abs=1e-5)
    assert adata.uns["c2s_finetune"]["n_unlabelled"] == 3


def test_the_report_is_one_page_with_every_picture(done) -> None:
    adata, result = done
    page = result.report.read_text(encoding="utf-8")
    for caption in (
        "True and predicted label",
        "Does the confidence mean what it says?",
        "Training",
        "Rank and expression",
        "All cells, true label",
        "Test cells, predicted label",
        "The sentence of cell",
    ):
        assert caption in page
    assert len(re.findall(r'<img[^>]+src="data:image/png;base64,', page)) == 7
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page), "nothing outside of it"
    assert "Cells &lt;&amp; sentences&gt;" in page
    for method in METHODS:
        assert method in page
    assert f"{result.table.loc['sc_c2s nano', 'accuracy']:.3f}" in page


def test_a_layout_of_the_user_is_kept(adata) -> None:
    adata.obsm["X_umap"] = np.zeros((60, 2))
    demo._add_umap(adata)
    assert not adata.obsm["X_umap"].any()


def test_no_layout_for_too_many_cells(adata, monkeypatch) -> None:
    monkeypatch.setattr(demo, "MAX_UMAP_CELLS", 59)
    demo._add_umap(adata)
    assert "X_umap" not in adata.obsm


def test_mudata_with_labels_of_the_whole_object(mdata, tmp_path) -> None:
    """And labels that are numbers, as those of clusters are."""
    types = mdata["rna"].obs.pop("cell_type")
    mdata.obs = mdata.obs[[]].copy()
    mdata.obs["cluster"] = types.cat.codes.reindex(mdata.obs_names)
    result = demo.run(mdata, tmp_path, groupby="cluster", title="x", mod="rna", n_epochs=2)
    assert result.annotated == Path(tmp_path) / "annotated.h5mu"
    stored = mudata.read_h5mu(result.annotated)
    assert set(result.table["n"]) == {(stored["rna"].obs["c2s_split"] == "test").sum()}
    assert list(result.table.index) == METHODS
    assert result.table.loc["logistic regression", "accuracy"] > 0.5
    assert list(tidy(stored, mod="rna")["label"].cat.categories) == directory.read(result.model).labels
    assert "Test cells, predicted label" in result.report.read_text(encoding="utf-8")
