"""Labels for cells: what is asked, what is written, and when it refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData

from sc_c2s.engine import LocalEngine, probabilities
from sc_c2s.get import annotation
from sc_c2s.models import directory, load, nano
from sc_c2s.pp import to_sentences
from sc_c2s.prompts import NANO, annotate_answer, annotate_prompt
from sc_c2s.sentences.recipe import Recipe
from sc_c2s.sentences.text import quote
from sc_c2s.tl._annotate import annotate

LABELS = ["B cell", "CD14+ monocyte", "T cell, CD4/CD8"]
GENES = [f"GENE{i}" for i in range(40)]


class MarkerEngine:
    """Knows that GENE0-3, GENE4-7 and GENE8-11 mark the three types; remembers what it was asked."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def score(self, prompts: Sequence[str], answers: Sequence[str], *, batch_size: int | None = None) -> np.ndarray:
        self.prompts = list(prompts)
        scores = np.full((len(prompts), len(answers)), -50.0)
        for row, prompt in zip(scores, prompts, strict=True):
            sentence = prompt.split(": ")[1].split(".\n")[0]
            markers = [int(gene[4:]) // 4 for gene in sentence.split(" ")[:4]]
            for column, answer in enumerate(answers):
                if answer[1:] in LABELS:
                    row[column] = markers.count(LABELS.index(answer[1:])) - 10
        return scores


def sentences(data: AnnData, recipe: Recipe, *, vocabulary: Sequence[str] = GENES, view: int = 0) -> list[str]:
    genes, cells = np.array(data.var_names, dtype=object), np.array(data.obs_names)
    return recipe.write(data.X, genes, cells, vocabulary=np.array(vocabulary, dtype=object), view=view)


@pytest.fixture
def log() -> Iterator[StringIO]:
    """What scanpy's logger says."""
    before = sc.settings.verbosity, sc.settings.logfile
    sc.settings.verbosity, sc.settings.logfile = 3, StringIO()
    yield sc.settings.logfile
    sc.settings.verbosity, sc.settings.logfile = before


@pytest.fixture(scope="session")
def make_directory(tmp_path_factory: pytest.TempPathFactory):
    def make(**changes: Any) -> Path:
        path = tmp_path_factory.mktemp("model")
        card = {
            "task": ["annotate"],
            "groupby": "cell_type",
            "labels": LABELS,
            "genes": GENES,
            "recipe": Recipe(n_genes=10).to_dict(),
            "family": "nano",
            "temperature": 0.5,
        } | changes
        words = [*GENES, *NANO.words, "cell_type", *map(quote, LABELS)]
        model, tokenizer = nano.build(words, width=16, n_layers=1, n_heads=2)
        for parameter in model.parameters():  # an untrained model is sure of nothing: give it opinions
            if parameter.ndim > 1:
                parameter.data.mul_(20)
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        directory.write(path, directory.ModelCard(**card))
        return path

    return make


@pytest.fixture(scope="session")
def model_directory(make_directory) -> Path:
    return make_directory()


def expected(path: Path, views: list[list[str]], *, labels: Sequence[str] = LABELS, temperature: float = 0.5):
    """Probabilities by the parts that the engine and the prompts are tested for."""
    loaded = load(path, device="cpu")
    engine = LocalEngine(loaded.model, loaded.tokenizer)
    prompts = [[annotate_prompt(s, family="nano", groupby="cell_type") for s in view] for view in views]
    answers = [annotate_answer(label, "nano") for label in labels]
    return probabilities(np.stack([engine.score(p, answers) for p in prompts]), temperature=temperature)


def test_markers_are_read(any_data) -> None:
    assert annotate(any_data.data, model=MarkerEngine(), labels=LABELS, **any_data.where) is None
    obs = any_data.adata.obs
    np.testing.assert_array_equal(obs["c2s_cell_type"].astype(str), obs["cell_type"].astype(str))
    assert list(obs["c2s_cell_type"].cat.categories) == LABELS
    proba = any_data.adata.obsm["c2s_cell_type_proba"]
    assert proba.dtype == np.float32
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(obs["c2s_cell_type_confidence"], proba.max(axis=1))
    stored = any_data.adata.uns["c2s_cell_type"]
    assert list(stored["labels"]) == LABELS
    assert stored["n_failed"] == len(stored["failures"]) == 0


def test_mudata_gets_the_columns_on_both_levels(mdata) -> None:
    annotate(mdata, model=MarkerEngine(), labels=LABELS, mod="rna")
    above = mdata.obs["rna:c2s_cell_type"]
    assert above.isna().sum() == 1, "the cell without RNA"
    np.testing.assert_array_equal(above.dropna().astype(str), mdata["rna"].obs["c2s_cell_type"].astype(str))


def test_prompts_of_a_model_that_says_nothing(adata) -> None:
    engine = MarkerEngine()
    annotate(adata, model=engine, labels=LABELS, groupby="cell_type")
    written = sentences(adata, Recipe(n_genes=200))
    assert engine.prompts == [annotate_prompt(s, family="english", groupby="cell_type") for s in written]


def test_directory(any_data, model_directory) -> None:
    annotate(any_data.data, model=model_directory, device="cpu", **any_data.where)
    adata = any_data.adata
    proba = expected(model_directory, [sentences(adata, Recipe(n_genes=10))])
    np.testing.assert_allclose(adata.obsm["c2s_cell_type_proba"], proba, atol=1e-5)
    assert list(adata.obs["c2s_cell_type"]) == [LABELS[i] for i in proba.argmax(axis=1)]
    params = adata.uns["c2s_cell_type"]["params"]
    assert {k: params[k] for k in ("temperature", "groupby", "family", "n_genes", "sentences", "dtype")} == {
        "temperature": 0.5,
        "groupby": "cell_type",
        "family": "nano",
        "n_genes": 10,
        "sentences": "made",
        "dtype": "float32",
    }


def test_path_and_loaded_model_are_the_same(adata, model_directory) -> None:
    annotate(adata, model=str(model_directory), device="cpu")
    annotate(adata, model=load(model_directory, device="cpu"), key_added="again")
    np.testing.assert_array_equal(adata.obsm["again_proba"], adata.obsm["c2s_cell_type_proba"])
    assert {"again", "again_confidence"} <= set(adata.obs)
    assert "again" in adata.uns


def test_views_are_averaged(adata, make_directory) -> None:
    path = make_directory(n_views=3, recipe=Recipe(n_genes=6).to_dict())
    annotate(adata, model=path, device="cpu")
    views = [sentences(adata, Recipe(n_genes=6), view=view) for view in range(3)]
    assert views[0] != views[1] != views[2]
    np.testing.assert_allclose(adata.obsm["c2s_cell_type_proba"], expected(path, views), atol=1e-5)


def test_genes_unknown_to_the_model_are_dropped_before_ranking(adata, make_directory) -> None:
    path = make_directory(genes=GENES[:20])
    annotate(adata, model=path, device="cpu")
    written = sentences(adata, Recipe(n_genes=10), vocabulary=GENES[:20])
    assert all(len(s.split()) == 10 for s in written if len(s.split()) > 9)
    np.testing.assert_allclose(adata.obsm["c2s_cell_type_proba"], expected(path, [written]), atol=1e-5)


def test_order_and_batches_do_not_matter(adata, model_directory) -> None:
    order = np.random.default_rng(0).permutation(adata.n_obs)
    shuffled = adata[order].copy()[:, adata.var_names[::-1]].copy()
    annotate(adata, model=model_directory, device="cpu", batch_size=1)
    annotate(shuffled, model=model_directory, device="cpu", batch_size=64)
    np.testing.assert_allclose(
        shuffled.obsm["c2s_cell_type_proba"], adata.obsm["c2s_cell_type_proba"][order], atol=1e-5
    )
    assert list(shuffled.obs["c2s_cell_type"]) == list(adata.obs["c2s_cell_type"].iloc[order])


def test_labels_restrict(adata, model_directory) -> None:
    annotate(adata, model=model_directory, device="cpu", labels=LABELS[:0:-1])
    assert list(adata.obs["c2s_cell_type"].cat.categories) == LABELS[:0:-1]
    proba = expected(model_directory, [sentences(adata, Recipe(n_genes=10))], labels=LABELS[:0:-1])
    np.testing.assert_allclose(adata.obsm["c2s_cell_type_proba"], proba, atol=1e-5)


def test_labels_extend(adata, model_directory, log) -> None:
    new = [*LABELS, "B cell naive", "NK/T"]
    annotate(adata, model=model_directory, device="cpu", labels=new)
    assert "2 labels are new to the model (for example 'B cell naive')" in log.getvalue()
    proba = adata.obsm["c2s_cell_type_proba"]
    assert proba.shape == (adata.n_obs, 5)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ("B cell", TypeError, "give a list of labels"),
        ([], ValueError, "names that are not empty"),
        (["B cell", " "], ValueError, "not ' '"),
        (["B cell", "B cell"], ValueError, "names a label twice"),
        (None, ValueError, r"no labels of its own; .* labels="),
    ],
)
def test_wrong_labels(adata, labels, error, message) -> None:
    with pytest.raises(error, match=message):
        annotate(adata, model=MarkerEngine(), labels=labels)


def test_unknown_below(adata) -> None:
    annotate(adata, model=MarkerEngine(), labels=LABELS, key_added="all")
    confidence = adata.obs["all_confidence"].to_numpy()
    cut = float(np.median(confidence[confidence > confidence.min()]))
    annotate(adata, model=MarkerEngine(), labels=LABELS, unknown_below=cut)
    label = adata.obs["c2s_cell_type"]
    np.testing.assert_array_equal(label == "unknown", confidence < cut)
    assert (label == "unknown").sum() not in {0, adata.n_obs}
    assert list(label.cat.categories) == [*LABELS, "unknown"]
    np.testing.assert_array_equal(label[confidence >= cut], adata.obs["all"][confidence >= cut])
    np.testing.assert_array_equal(adata.obs["c2s_cell_type_confidence"], confidence)
    assert adata.obsm["c2s_cell_type_proba"].shape[1] == len(LABELS)


def test_unknown_below_is_a_probability(adata) -> None:
    with pytest.raises(ValueError, match="unknown_below=1.5 is not a probability"):
        annotate(adata, model=MarkerEngine(), labels=LABELS, unknown_below=1.5)


def test_cells_without_anything_to_read(any_data, make_directory) -> None:
    adata = any_data.adata
    x = adata.X.toarray()
    x[[3, 7]] = 0
    x[5, :20] = 0
    adata.X = x
    annotate(any_data.data, model=make_directory(genes=GENES[:20]), device="cpu", unknown_below=0.1, **any_data.where)
    failed = adata.obs_names[[3, 5, 7]]
    assert set(adata.obs_names[adata.obs["c2s_cell_type"].isna()]) == set(failed)
    assert adata.obs["c2s_cell_type_confidence"].isna().sum() == 3
    assert np.isnan(adata.obsm["c2s_cell_type_proba"]).all(axis=1).sum() == 3
    stored = adata.uns["c2s_cell_type"]
    assert stored["n_failed"] == 3
    assert stored["failures"]["reason"].to_dict() == {
        failed[0]: "no counts",
        failed[1]: "no count in a gene that the model reads",
        failed[2]: "no counts",
    }


def test_a_model_that_returns_nan(adata) -> None:
    class Broken(MarkerEngine):
        def score(self, prompts, answers, *, batch_size=None):
            scores = super().score(prompts, answers)
            scores[2] = np.nan
            return scores

    annotate(adata, model=Broken(), labels=LABELS)
    assert adata.obs["c2s_cell_type"].isna().sum() == 1
    assert list(adata.uns["c2s_cell_type"]["failures"]["reason"]) == ["the model returned NaN"]


def test_all_cells_empty(adata) -> None:
    adata.X = adata.X * 0
    annotate(adata, model=MarkerEngine(), labels=LABELS)
    assert adata.obs["c2s_cell_type"].isna().all()
    assert adata.uns["c2s_cell_type"]["n_failed"] == adata.n_obs


def test_sentences_in_obs_are_used(adata, model_directory) -> None:
    to_sentences(adata, n_genes=10)
    annotate(adata, model=model_directory, device="cpu", key_added="as_written")
    assert adata.uns["as_written"]["params"]["sentences"] == "cell_sentence"
    del adata.obs["cell_sentence"]
    annotate(adata, model=model_directory, device="cpu", key_added="made")
    np.testing.assert_allclose(adata.obsm["as_written_proba"], adata.obsm["made_proba"], atol=1e-5)


@pytest.mark.parametrize("n_genes", [10, None])
@pytest.mark.parametrize("mod", [None, "rna"])
def test_sentences_from_a_file_are_used(adata, mdata, make_directory, tmp_path, mod, n_genes) -> None:
    path = make_directory(recipe=Recipe(n_genes=n_genes).to_dict())
    if mod is None:
        to_sentences(adata, n_genes=n_genes)
        adata.write_h5ad(tmp_path / "cells.h5ad")
        data = inside = anndata.read_h5ad(tmp_path / "cells.h5ad")
    else:
        to_sentences(mdata, n_genes=n_genes, mod=mod)
        mdata.write_h5mu(tmp_path / "cells.h5mu")
        data = mudata.read_h5mu(tmp_path / "cells.h5mu")
        inside = data[mod]
    annotate(data, model=path, device="cpu", mod=mod)
    assert inside.uns["c2s_cell_type"]["params"]["sentences"] == "cell_sentence"


def test_a_tidy_table_comes_out(any_data, model_directory) -> None:
    annotate(any_data.data, model=model_directory, device="cpu", **any_data.where)
    table = annotation(any_data.data, **any_data.where)
    adata = any_data.adata
    assert list(table.index) == list(adata.obs_names)
    assert list(table["label"]) == list(adata.obs["c2s_cell_type"])
    np.testing.assert_allclose(table["confidence"], adata.obsm["c2s_cell_type_proba"].max(axis=1))


def test_sentences_as_a_categorical(adata, model_directory) -> None:
    """As anndata reads repeated strings back from a file."""
    to_sentences(adata, n_genes=10)
    adata.obs["cell_sentence"] = adata.obs["cell_sentence"].astype("category")
    annotate(adata, model=model_directory, device="cpu")
    assert adata.uns["c2s_cell_type"]["params"]["sentences"] == "cell_sentence"


@pytest.mark.parametrize(
    ("changes", "stored", "said"),
    [
        ({}, {"n_genes": 5}, "n_genes=10"),
        ({}, {"n_genes": 10, "ties": "random"}, "ties='hash'"),
        ({"n_views": 2}, {"n_genes": 10}, "2 orders of the ties"),
        ({"genes": GENES[:30]}, {"n_genes": 10}, "none but its own genes"),
    ],
)
def test_sentences_of_another_recipe_are_made_anew(adata, make_directory, log, changes, stored, said) -> None:
    path = make_directory(**changes)
    annotate(adata, model=path, device="cpu", key_added="fresh")
    to_sentences(adata, **stored)
    before = list(adata.obs["cell_sentence"])
    annotate(adata, model=path, device="cpu")
    assert "making sentences anew" in log.getvalue()
    assert said in log.getvalue()
    np.testing.assert_allclose(adata.obsm["c2s_cell_type_proba"], adata.obsm["fresh_proba"], atol=1e-6)
    assert list(adata.obs["cell_sentence"]) == before, "the user's sentences stay"


def test_anew_from_where_the_sentences_came_from(adata, model_directory) -> None:
    annotate(adata, model=model_directory, device="cpu", key_added="counts")
    adata.layers["counts"] = adata.X.copy()
    to_sentences(adata, n_genes=3, layer="counts")
    sc.pp.scale(adata)
    annotate(adata, model=model_directory, device="cpu")
    np.testing.assert_allclose(adata.obsm["c2s_cell_type_proba"], adata.obsm["counts_proba"], atol=1e-6)
    assert adata.uns["c2s_cell_type"]["params"]["layer"] == "counts"


def test_a_source_that_is_gone_is_not_asked_for(adata, model_directory) -> None:
    adata.layers["counts"] = adata.X
    to_sentences(adata, n_genes=3, layer="counts")
    del adata.layers["counts"]
    annotate(adata, model=model_directory, device="cpu")
    assert adata.uns["c2s_cell_type"]["params"]["layer"] is None


def test_scaled_data_are_refused(adata, model_directory) -> None:
    sc.pp.scale(adata)
    with pytest.raises(ValueError, match="negative values.*use_raw=True"):
        annotate(adata, model=model_directory, device="cpu")
    assert "c2s_cell_type" not in adata.obs
    assert "c2s_cell_type" not in adata.uns


@pytest.mark.parametrize("source", ["layer", "use_raw", "gene_symbols"])
def test_where_expression_is_read_from(adata, model_directory, source) -> None:
    annotate(adata, model=model_directory, device="cpu", key_added="plain")
    if source == "layer":
        adata.layers["counts"], where = adata.X.copy(), {"layer": "counts"}
    elif source == "use_raw":
        adata.raw, where = adata, {"use_raw": True}
    else:
        adata.var["symbol"], where = adata.var_names, {"gene_symbols": "symbol"}
        adata.var_names = adata.var["ensembl"]
    if source != "gene_symbols":
        sc.pp.scale(adata)
    annotate(adata, model=model_directory, device="cpu", **where)
    np.testing.assert_allclose(adata.obsm["c2s_cell_type_proba"], adata.obsm["plain_proba"], atol=1e-6)


def test_genes_of_another_kind_are_refused(adata, model_directory, make_directory) -> None:
    adata.var_names = [f"Gene{i}" for i in range(40)]
    with pytest.raises(ValueError, match=r"Only 0 of the model's 40 genes are among the 40 of the data.*gene_symbols="):
        annotate(adata, model=model_directory, device="cpu")
    adata.var_names = [*GENES[:3], *(f"Gene{i}" for i in range(37))]
    with pytest.raises(ValueError, match="Only 3 of the model's 40 genes"):
        annotate(adata, model=model_directory, device="cpu")
    human = make_directory(genes=["CD3D", "CD3E", "CD4", "CD8A", "MS4A1"])
    adata.var_names = ["Cd3d", "Cd3e", "Cd4", "Cd8a", "Ms4a1", *(f"Actb{i}" for i in range(35))]
    with pytest.raises(ValueError, match="these look like mouse and human genes"):
        annotate(adata, model=human, device="cpu")


def test_a_panel_of_few_genes_is_enough(adata, model_directory) -> None:
    panel = adata[:, :6].copy()
    annotate(panel, model=model_directory, device="cpu")
    assert panel.obs["c2s_cell_type"].notna().any()


def test_too_long_sentences_name_the_option(adata, make_directory) -> None:
    path = make_directory()
    loaded = load(path, device="cpu")
    loaded.model.config.max_position_embeddings = 12
    with pytest.raises(ValueError, match="smaller n_genes"):
        annotate(adata, model=loaded)
    assert "c2s_cell_type" not in adata.obs


def test_copy(any_data, model_directory) -> None:
    before = set(any_data.adata.obs)
    result = annotate(any_data.data, model=model_directory, device="cpu", copy=True, **any_data.where)
    assert set(any_data.adata.obs) == before
    assert not any_data.adata.obsm
    there = result[any_data.where["mod"]] if any_data.where else result
    assert "c2s_cell_type" in there.obs


def test_no_model(adata) -> None:
    with pytest.raises(TypeError, match="an engine, not int"):
        annotate(adata, model=3, labels=LABELS)
    with pytest.raises(FileNotFoundError, match="There is no directory"):
        annotate(adata, model="./nowhere", labels=LABELS)


def check_stored(stored: AnnData, original: AnnData) -> None:
    pd.testing.assert_series_equal(stored.obs["c2s_cell_type"], original.obs["c2s_cell_type"])
    np.testing.assert_array_equal(stored.obsm["c2s_cell_type_proba"], original.obsm["c2s_cell_type_proba"])
    np.testing.assert_array_equal(stored.obs["c2s_cell_type_confidence"], original.obs["c2s_cell_type_confidence"])
    before, after = original.uns["c2s_cell_type"], stored.uns["c2s_cell_type"]
    assert list(after["labels"]) == list(before["labels"])
    assert after["n_failed"] == before["n_failed"]
    assert list(after["failures"]["reason"]) == list(before["failures"]["reason"])
    assert list(after["failures"].index) == list(before["failures"].index)
    assert after["params"]["temperature"] == before["params"]["temperature"]


@pytest.mark.parametrize("n_empty", [0, 2])
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_round_trip(adata, model_directory, tmp_path, kind, n_empty) -> None:
    x = adata.X.toarray()
    x[:n_empty] = 0
    adata.X = x
    annotate(adata, model=model_directory, device="cpu", unknown_below=0.4)
    file = tmp_path / f"cells.{kind}"
    if kind == "h5ad":
        adata.write_h5ad(file)
        check_stored(anndata.read_h5ad(file), adata)
    else:
        adata.write_zarr(file)
        check_stored(anndata.read_zarr(file), adata)


def test_round_trip_of_mudata(mdata, model_directory, tmp_path) -> None:
    annotate(mdata, model=model_directory, device="cpu", mod="rna", unknown_below=0.4)
    mdata.write_h5mu(tmp_path / "cells.h5mu")
    stored = mudata.read_h5mu(tmp_path / "cells.h5mu")
    check_stored(stored["rna"], mdata["rna"])
    assert list(stored.obs["rna:c2s_cell_type"].dropna()) == list(mdata.obs["rna:c2s_cell_type"].dropna())


def test_backed(adata, model_directory, tmp_path) -> None:
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    annotate(backed, model=model_directory, device="cpu")
    annotate(adata, model=model_directory, device="cpu")
    np.testing.assert_allclose(backed.obsm["c2s_cell_type_proba"], adata.obsm["c2s_cell_type_proba"], atol=1e-6)
