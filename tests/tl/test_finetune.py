"""From labelled cells to a model directory: what is written, what is the same again, and what goes on after a kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
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
from safetensors.numpy import load_file

from sc_c2s.metrics import annotation
from sc_c2s.models import directory, load, nano
from sc_c2s.sentences.inverse import RankFit
from sc_c2s.tl import annotate, finetune
from sc_c2s.training import sft
from sc_c2s.training.sft import last_checkpoint

FAST: dict[str, Any] = {"groupby": "cell_type", "n_epochs": 2, "batch_size": 16, "device": "cpu", "dtype": "float32"}


def weights(path: Path) -> dict[str, np.ndarray]:
    return load_file(path / "model.safetensors")


def check_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, rtol=1e-5, atol=1e-7)


@pytest.fixture(scope="module", autouse=True)
def tiny_nano() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano, "build", partial(nano.build, width=32, n_layers=1, n_heads=2))
        yield


@pytest.fixture(scope="module")
def trained(make_cells, tiny_nano, tmp_path_factory) -> tuple[AnnData, Path]:
    """Cells that were trained on, and the model; tests that write copy them."""
    adata, path = make_cells(), tmp_path_factory.mktemp("trained") / "model"
    adata.obs["cell_type"] = adata.obs["cell_type"].mask(np.arange(adata.n_obs) < 4)
    finetune(adata, output_dir=path, **FAST | {"n_epochs": 10, "learning_rate": 1e-2})
    return adata, path


def test_what_is_written(trained) -> None:
    adata, path = trained
    split = adata.obs["c2s_split"]
    assert list(split.cat.categories) == ["train", "validation", "test"]
    np.testing.assert_array_equal(split.isna(), adata.obs["cell_type"].isna())
    stored = adata.uns["c2s_finetune"]
    assert set(stored) == {"history", "metrics", "model", "n_unlabelled", "params"}
    assert stored["n_unlabelled"] == 4
    assert stored["model"] == str(path)
    history = stored["history"]
    assert list(history.columns) == ["step", "epoch", "train_loss", "val_loss", "val_accuracy", "seconds"]
    assert history["step"].is_monotonic_increasing
    assert history["epoch"].iloc[-1] <= 10
    assert list(stored["metrics"].index) == ["validation", "test"]
    assert list(stored["metrics"]["n"]) == [(split == which).sum() for which in ("validation", "test")]
    assert {k: stored["params"][k] for k in ("task", "groupby", "base", "mod", "validation_size")} == {
        "task": "annotate",
        "groupby": "cell_type",
        "base": "nano",
        "mod": None,
        "validation_size": 0.1,
    }


def test_it_learns(trained) -> None:
    """Every type has four genes of its own: anything that reads them gets these cells right."""
    adata, _ = trained
    assert adata.uns["c2s_finetune"]["metrics"].loc["test", "accuracy"] > 0.9


def test_the_card(trained) -> None:
    adata, path = trained
    card = directory.read(path)
    assert card.labels == sorted(adata.obs["cell_type"].cat.categories)
    assert (card.task, card.groupby, card.family) == (["annotate"], "cell_type", "nano")
    assert set(card.genes) <= set(adata.var_names)
    assert card.data["n_train"] == (adata.obs["c2s_split"] == "train").sum()
    assert card.metrics["test"] == adata.uns["c2s_finetune"]["metrics"].loc["test"].to_dict()
    assert RankFit.from_dict(card.rank_fit).n_cells > 0
    assert "torch" in card.versions
    pd.testing.assert_frame_equal(
        directory.read_history(path), adata.uns["c2s_finetune"]["history"], check_dtype=False, rtol=1e-9
    )
    left = {file.name for file in path.iterdir()}
    assert not {"checkpoints", "run.json", "c2s.json.part"} & left, "nothing of the training stays"


def test_annotate_gives_the_metrics_that_were_reported(trained) -> None:
    adata, path = trained
    data = adata.copy()
    annotate(data, model=path, device="cpu")
    for which in ("validation", "test"):
        cells = (data.obs["c2s_split"] == which).to_numpy()
        scores = annotation(
            data.obs["cell_type"][cells],
            data.obs["c2s_cell_type"][cells],
            proba=data.obsm["c2s_cell_type_proba"][cells],
            labels=list(data.uns["c2s_cell_type"]["labels"]),
        )
        reported = data.uns["c2s_finetune"]["metrics"].loc[which]
        assert set(scores) == set(reported.index)
        for name in ("accuracy", "macro_f1", "balanced_accuracy", "n"):
            assert scores[name] == reported[name]
        for name in ("ece", "brier", "log_loss"):
            assert scores[name] == pytest.approx(reported[name], abs=1e-5)


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_round_trip(trained, tmp_path, kind) -> None:
    adata, _ = trained
    file = tmp_path / f"cells.{kind}"
    if kind == "h5ad":
        adata.write_h5ad(file)
        stored = anndata.read_h5ad(file)
    else:
        adata.write_zarr(file)
        stored = anndata.read_zarr(file)
    check_stored(stored, adata)


def check_stored(stored: AnnData, original: AnnData) -> None:
    pd.testing.assert_series_equal(stored.obs["c2s_split"], original.obs["c2s_split"])
    before, after = original.uns["c2s_finetune"], stored.uns["c2s_finetune"]
    pd.testing.assert_frame_equal(after["metrics"], before["metrics"], check_dtype=False)
    pd.testing.assert_frame_equal(
        after["history"].reset_index(drop=True), before["history"], check_dtype=False, check_column_type=False
    )
    assert after["model"] == before["model"]
    assert after["n_unlabelled"] == before["n_unlabelled"]
    assert after["params"] == before["params"]


def test_anndata_and_mudata_are_the_same(adata, mdata, tmp_path) -> None:
    """And so is the second call with the same seed, whatever its name."""
    alone = adata.copy()
    finetune(alone, output_dir=tmp_path / "alone", **FAST, random_state=5)
    finetune(mdata, output_dir=tmp_path / "within", mod="rna", **FAST, rng=5)
    within = mdata["rna"]
    pd.testing.assert_series_equal(within.obs["c2s_split"], alone.obs["c2s_split"])
    above = mdata.obs["rna:c2s_split"]
    assert above.isna().sum() == 1, "the cell without RNA"
    assert list(above.dropna()) == list(alone.obs["c2s_split"])
    one, other = alone.uns["c2s_finetune"], within.uns["c2s_finetune"]
    pd.testing.assert_frame_equal(other["metrics"], one["metrics"])
    pd.testing.assert_frame_equal(other["history"].drop(columns="seconds"), one["history"].drop(columns="seconds"))
    assert (other["params"]["mod"], one["params"]["mod"]) == ("rna", None)
    check_same_weights(tmp_path / "alone", tmp_path / "within")

    mdata.write_h5mu(tmp_path / "cells.h5mu")
    stored = mudata.read_h5mu(tmp_path / "cells.h5mu")
    check_stored(stored["rna"], within)
    assert list(stored.obs["rna:c2s_split"].dropna()) == list(above.dropna())


def test_another_seed_is_another_run(adata, tmp_path) -> None:
    splits = []
    for seed in (1, np.random.default_rng(2)):
        finetune(adata, output_dir=tmp_path / str(len(splits)), **FAST | {"n_epochs": 1}, rng=seed)
        splits.append(adata.obs["c2s_split"].astype(str).tolist())
    assert splits[0] != splits[1]


def test_a_given_split_is_used_and_a_copy_returned(adata, tmp_path) -> None:
    adata.obs["fold"] = ["train", "train", "train", "validation", "test"] * 12
    before = set(adata.obs)
    result = finetune(
        adata, output_dir=tmp_path, **FAST | {"n_epochs": 1}, split_key="fold", key_added="mine", copy=True
    )
    assert set(adata.obs) == before
    assert not adata.uns
    assert result.obs["c2s_split"].astype(str).tolist() == adata.obs["fold"].tolist()
    assert result.uns["mine"]["params"]["split_key"] == "fold"


def test_donors_stay_together_and_no_test_cells_are_needed(adata, tmp_path) -> None:
    finetune(adata, output_dir=tmp_path, **FAST | {"n_epochs": 1}, split_key="donor", test_size=0)
    split = adata.obs["c2s_split"].astype(str)
    assert (split.groupby(adata.obs["donor"].astype(str)).nunique() == 1).all()
    assert set(split) == {"train", "validation"}
    assert list(adata.uns["c2s_finetune"]["metrics"].index) == ["validation"]


def test_labels_that_are_genes_and_numbers(adata, tmp_path) -> None:
    """A cell type called like a gene, one of the prompt's words and one that is a number."""
    adata.obs["odd"] = pd.Series(["GENE0", ":", 3], dtype=object).iloc[np.arange(60) % 3].to_numpy()
    finetune(adata, output_dir=tmp_path, **FAST | {"groupby": "odd", "n_epochs": 1})
    assert directory.read(tmp_path).labels == ["3", ":", "GENE0"]
    annotate(adata, model=tmp_path, device="cpu")
    assert list(adata.obs["c2s_cell_type"].cat.categories) == ["3", ":", "GENE0"]
    test = (adata.obs["c2s_split"] == "test").to_numpy()
    assert (adata.obs["c2s_cell_type"].astype(str) == adata.obs["odd"].astype(str))[test].mean() > 0.9


def test_numbered_clusters_with_a_gap_keep_their_numbers(adata, tmp_path) -> None:
    """Pandas turns whole numbers into floats where one is missing; a label is "1" all the same."""
    adata.obs["cluster"] = np.where(np.arange(60) == 7, np.nan, np.arange(60) % 3)
    finetune(adata, output_dir=tmp_path, **FAST | {"groupby": "cluster", "n_epochs": 1})
    assert directory.read(tmp_path).labels == ["0", "1", "2"]
    assert adata.uns["c2s_finetune"]["n_unlabelled"] == 1


def test_names_of_genes_that_differ_in_case_only(adata, tmp_path) -> None:
    adata.var_names = [*adata.var_names[:20], *(f"Gene{i}" for i in range(20))]
    finetune(adata, output_dir=tmp_path, **FAST | {"n_epochs": 1})
    assert {"GENE1", "Gene1"} <= set(directory.read(tmp_path).genes)
    tokenizer = load(tmp_path, device="cpu").tokenizer
    assert len(set(tokenizer("GENE1 Gene1")["input_ids"])) == 2


def test_a_nano_goes_on_with_a_new_label(trained, adata, tmp_path) -> None:
    _, path = trained
    before = weights(path)["model.embed_tokens.weight"]
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.rename_categories({"B cell": "plasma cell"})
    known = load(path, device="cpu").tokenizer
    assert len(known("=plasma%20cell")["input_ids"]) > 1
    finetune(adata, output_dir=tmp_path, model=path, **FAST)
    there = load(tmp_path, device="cpu")
    assert len(there.tokenizer("=plasma%20cell")["input_ids"]) == 1
    assert there.model.get_input_embeddings().weight.shape == before.shape, "one of the reserved tokens"
    card = directory.read(tmp_path)
    assert "plasma cell" in card.labels
    assert "B cell" not in card.labels
    assert card.base["name"] == str(path)
    annotate(adata, model=tmp_path, device="cpu")
    np.testing.assert_array_equal(weights(path)["model.embed_tokens.weight"], before)


def test_a_model_is_replaced_in_its_own_directory(trained, adata, tmp_path) -> None:
    path = tmp_path / "model"
    shutil.copytree(trained[1], path)
    finetune(adata, output_dir=path, model=path, **FAST | {"n_epochs": 1})
    card = directory.read(path)
    assert card.data["n_train"] == (adata.obs["c2s_split"] == "train").sum()
    annotate(adata, model=path, device="cpu")


def test_an_adapter_for_a_pretrained_model(pretrained, adata, tmp_path, capfd) -> None:
    before = {file.name: file.read_bytes() for file in pretrained.iterdir()}
    path = tmp_path / "adapter"
    options = FAST | {"n_epochs": 1, "n_genes": 8, "learning_rate": 1e-2, "lora_rank": 2, "gene_tokens": False}
    finetune(adata, output_dir=path, model=pretrained, **options)
    assert "Warning" not in capfd.readouterr().err
    assert {file.name: file.read_bytes() for file in pretrained.iterdir()} == before, "the base is left alone"
    assert {"adapter_config.json", "adapter_model.safetensors", "c2s.json"} <= {file.name for file in path.iterdir()}
    assert not (path / "config.json").exists()
    card = directory.read(path)
    assert (card.family, card.recipe["n_genes"]) == ("english", 8)
    assert len(card.genes) == adata.n_vars
    check_reported(adata, path)

    finetune(adata, output_dir=tmp_path / "further", model=path, **options)
    check_reported(adata, tmp_path / "further")
    with pytest.raises(ValueError, match="holds a model that is not from tl.finetune: choose another output_dir="):
        finetune(adata, output_dir=pretrained, model=pretrained, **options)
    finetune(adata, output_dir=path, **FAST | {"n_epochs": 1})
    assert not (path / "adapter_config.json").exists(), "the nano does not share its directory with an adapter"
    check_reported(adata, path)


def check_reported(adata: AnnData, path: Path) -> None:
    annotate(adata, model=path, device="cpu")
    test = (adata.obs["c2s_split"] == "test").to_numpy()
    proba, labels = adata.obsm["c2s_cell_type_proba"][test], list(adata.uns["c2s_cell_type"]["labels"])
    scores = annotation(adata.obs["cell_type"][test], adata.obs["c2s_cell_type"][test], proba=proba, labels=labels)
    reported = adata.uns["c2s_finetune"]["metrics"].loc["test"]
    assert scores["log_loss"] == pytest.approx(reported["log_loss"], abs=1e-4)


RUN = """
import sys
import time
from functools import partial
from anndata import read_h5ad
from sc_c2s.models import nano
from sc_c2s.tl import finetune
from sc_c2s.training.sft import OneBar
OneBar.on_step_begin = lambda *args, **kwargs: time.sleep(0.1)
nano.build = partial(nano.build, width=32, n_layers=1, n_heads=2)
finetune(read_h5ad(sys.argv[1]), output_dir=sys.argv[2], groupby="cell_type", n_epochs=8, batch_size=16, device="cpu",
         dtype="float32", patience=100, rng=3)
"""
LIKE_RUN: dict[str, Any] = {
    "groupby": "cell_type",
    "n_epochs": 8,
    "batch_size": 16,
    "device": "cpu",
    "dtype": "float32",
    "patience": 100,
    "rng": 3,
}


def check_who_goes_on(adata: AnnData, path: Path) -> None:
    """The same call finds the checkpoints; with other arguments or other cells it finds none."""
    more = adata.copy()
    more.X[0, 0] += 1
    other_label = adata.copy()
    other_label.obs["cell_type"] = other_label.obs["cell_type"].cat.rename_categories({"B cell": "plasma cell"})
    for goes_on, data, changes in (
        (True, adata, {}),
        (False, adata, {"rng": 4}),
        (False, adata, {"learning_rate": 1e-4}),
        (False, adata, {"n_top_genes": 7}),
        (False, adata, {"resume": False}),
        (False, more, {}),
        (False, other_label, {}),
    ):
        copy = path.with_name("copy")
        shutil.copytree(path, copy)
        found = []

        def peek(*args: Any, output_dir: Path, **kwargs: Any) -> None:
            found.append(last_checkpoint(output_dir))  # noqa: B023
            raise InterruptedError

        with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedError):
            patch.setattr(sft, "train", peek)
            finetune(data, output_dir=copy, **LIKE_RUN | changes)
        assert [bool(checkpoint) for checkpoint in found] == [goes_on], changes
        shutil.rmtree(copy)


def test_going_on_after_a_kill(adata, tmp_path, capfd) -> None:
    adata.write_h5ad(tmp_path / "cells.h5ad")
    path = tmp_path / "killed"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(tmp_path / "cells.h5ad"), str(path)],
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if last_checkpoint(path):
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert not directory.is_model_directory(path), "it was killed before it was through"
    done = int(last_checkpoint(path).rpartition("-")[2])

    check_who_goes_on(adata, path)
    capfd.readouterr()
    resumed = adata.copy()
    finetune(resumed, output_dir=path, **LIKE_RUN)
    opened = [line for line in capfd.readouterr().err.replace("\r", "\n").split("\n") if line.startswith("training:")]
    steps = {int(line.split("|")[2].split("/")[0]) for line in opened} - {0}
    assert min(steps) >= done, "the steps before the checkpoint were not made again"

    whole = adata.copy()
    finetune(whole, output_dir=tmp_path / "whole", **LIKE_RUN)
    check_same_weights(tmp_path / "whole", path)
    columns = ["step", "train_loss", "val_loss", "val_accuracy"]
    pd.testing.assert_frame_equal(
        resumed.uns["c2s_finetune"]["history"][columns], whole.uns["c2s_finetune"]["history"][columns], rtol=1e-4
    )
    pd.testing.assert_frame_equal(
        resumed.uns["c2s_finetune"]["metrics"], whole.uns["c2s_finetune"]["metrics"], rtol=1e-4
    )


def test_one_bar_for_training_and_one_for_scoring(adata, tmp_path, capfd) -> None:
    before = sc.settings.verbosity, sc.settings.logfile
    sc.settings.verbosity, sc.settings.logfile = 1, StringIO()
    try:
        finetune(adata, output_dir=tmp_path, **FAST)
    finally:
        sc.settings.verbosity, sc.settings.logfile = before
    said = capfd.readouterr()
    assert said.out == ""
    lines = [line.strip() for line in said.err.replace("\r", "\n").split("\n") if line.strip()]
    assert {line.split(":")[0] for line in lines} == {"training", "scoring"}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"groupby": "celltype"}, KeyError, "obs has no column 'celltype'; its columns are: cell_type, donor"),
        ({"split_key": "fold"}, KeyError, "obs has no column 'fold'"),
        ({"task": "dance"}, ValueError, "There is no task 'dance'; choose from 'annotate', 'generate'"),
        ({"groupby": "none"}, ValueError, "There are 0 cells with a label"),
        ({"groupby": "one"}, ValueError, "1 different labels: give a groupby= column with two or more"),
        ({"groupby": "unique"}, ValueError, "every label needs two cells or more"),
        ({"split_key": "two"}, ValueError, "has 2 groups, but 3 sets that share none are needed"),
        ({"split_key": "apart"}, ValueError, "No validation cell has a label that the training cells have"),
        ({"test_size": 1.0}, ValueError, "add up to less than 1"),
        ({"layer": "scaled"}, ValueError, r"holds negative values.*use_raw=True or layer="),
        ({"layer": "nowhere"}, KeyError, "There is no layer 'nowhere'"),
        ({"model": "./nowhere"}, FileNotFoundError, "There is no directory './nowhere'"),
        ({"rng": 1, "random_state": 2}, TypeError, "mean the same"),
    ],
)
def test_nothing_is_written_when_it_fails(adata, tmp_path, changes, error, message) -> None:
    adata.obs["none"] = np.nan
    adata.obs["one"] = "cell"
    adata.obs["unique"] = adata.obs_names
    adata.obs["two"] = ["x", "y"] * 30
    adata.obs["apart"] = adata.obs["cell_type"].astype(str).map({"B cell": "validation"}).fillna("train")
    scaled = np.asarray(adata.X.todense())
    adata.layers["scaled"] = scaled - scaled.mean(axis=0)
    before = set(adata.obs)
    with pytest.raises(error, match=message) as caught:
        finetune(adata, output_dir=tmp_path / "model", **FAST | {"n_epochs": 1} | changes)
    assert "\n" not in str(caught.value)
    assert set(adata.obs) == before
    assert not adata.uns
    assert not directory.is_model_directory(tmp_path / "model")


def test_counts_and_their_logarithms_are_one(adata, tmp_path) -> None:
    """Ranks are the same, and so are the counts that variants are drawn from."""
    adata.X = adata.X + 0 * adata.X
    adata.layers["log"] = sc.pp.log1p(sc.pp.normalize_total(adata, target_sum=1e4, copy=True).X)
    finetune(adata, output_dir=tmp_path / "counts", **FAST)
    metrics = adata.uns["c2s_finetune"]["metrics"]
    finetune(adata, output_dir=tmp_path / "log", layer="log", **FAST)
    one, other = directory.read(tmp_path / "counts"), directory.read(tmp_path / "log")
    assert one.genes == other.genes
    pd.testing.assert_frame_equal(adata.uns["c2s_finetune"]["metrics"], metrics, rtol=1e-2)
