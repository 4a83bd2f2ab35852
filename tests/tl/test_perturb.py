"""Predicted perturbations: what is written where, that the name is read, and that nothing else matters."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from sc_c2s.get import perturbed
from sc_c2s.metrics import perturbation_baselines
from sc_c2s.metrics.context_shifts import BLEND, METHODS
from sc_c2s.models import directory, nano
from sc_c2s.sentences.inverse import log_expression
from sc_c2s.tl import annotate, finetune, perturb

FAST: dict[str, Any] = {"batch_size": 16, "device": "cpu", "dtype": "float32"}
TASK: dict[str, Any] = {"task": "perturb", "condition_key": "treatment", "control": "none", "groupby": "cell_type"}
UNSEEN = "T cell, CD4/CD8"


@pytest.fixture(scope="module", autouse=True)
def one_layer() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano, "build", partial(nano.build, n_layers=1))
        yield


@pytest.fixture(scope="module")
def training(make_treated_cells) -> AnnData:
    return make_treated_cells()


@pytest.fixture(scope="module")
def model(training, one_layer, tmp_path_factory) -> Path:
    """A model that has seen no perturbed cell of one type."""
    path = tmp_path_factory.mktemp("perturber") / "model"
    finetune(training, held_out={"cell_type": UNSEEN}, output_dir=path, n_epochs=8, **TASK, **FAST)
    return path


@pytest.fixture
def treated(make_treated_cells) -> AnnData:
    return make_treated_cells(seed=1)


def controls(adata: AnnData) -> np.ndarray:
    return (adata.obs["treatment"] == "none").to_numpy()


def test_what_is_written(any_treated, model) -> None:
    adata = any_treated.adata
    before = adata.X.copy()
    assert perturb(any_treated.data, model=model, perturbation="IFN", **any_treated.where) is None
    x, stored = adata.obsm["c2s_perturbed"], adata.uns["c2s_perturbed"]
    assert x.dtype == np.float32
    assert x.shape == (adata.n_obs, len(stored["var_names"]))
    assert np.isnan(x[~controls(adata)]).all()
    assert (x[controls(adata)] >= 0).all()
    np.testing.assert_array_equal(adata.obs["c2s_perturbed_sentence"].notna(), controls(adata))
    assert (adata.X != before).nnz == 0
    assert stored["perturbation"] == "IFN"
    assert stored["space"] == "log1p CP10k"
    assert list(stored["contexts"]) == sorted(adata.obs["cell_type"].cat.categories)
    assert stored["changes"].shape == (3, x.shape[1])
    assert list(stored["baselines"]) == ["no change", *METHODS, "best blend", "falls in proportion"]
    assert stored["shifts"].shape == (8, 3, x.shape[1])
    assert set(stored["metrics"]["source"]) == {"model", "scrambled name", "shuffled contexts", *stored["baselines"]}
    assert stored["params"]["condition_key"] == "treatment"
    if any_treated.where:
        assert "rna:c2s_perturbed_sentence" in any_treated.data.obs


def test_shifts_without_a_model_are_those_of_the_training_cells(treated, training, model) -> None:
    """What the model kept tells the same as the training cells themselves."""
    perturb(treated, model=model, perturbation="IFN")
    stored = treated.uns["c2s_perturbed"]
    genes = stored["var_names"]
    train, cells = training[(training.obs["c2s_split"] == "train").to_numpy()].copy(), treated[controls(treated)].copy()
    for adata in (train, cells):
        adata.X = log_expression(sparse.csr_matrix(adata.X))
    by = {"condition_key": "treatment", "control": "none", "groupby": "cell_type"}
    wanted = perturbation_baselines(train[:, genes].copy(), cells[:, genes].copy(), perturbations=["IFN"], **by)
    before = cells[:, genes].X.toarray()
    assert set(wanted) == {*METHODS, BLEND}
    for name, one in wanted.items():
        shifts = stored["shifts"][list(stored["baselines"]).index(name)]
        for context, shift in zip(stored["contexts"], shifts, strict=True):
            here = (cells.obs["cell_type"] == context).to_numpy()
            np.testing.assert_allclose(shift, (one.X - before)[here].mean(axis=0), atol=2e-4, err_msg=name)


def test_it_finds_what_was_planted_in_a_type_it_never_saw_perturbed(treated, model) -> None:
    perturb(treated, model=model, perturbation="IFN")
    stored = treated.uns["c2s_perturbed"]
    change = stored["changes"][list(stored["contexts"]).index(UNSEEN)]
    genes = stored["var_names"]
    assert set(genes[np.argsort(-change)[:4]]) == {f"GENE{i}" for i in range(20, 24)}
    by_source = stored["metrics"].query("context == @UNSEEN").set_index("source")["pearson_delta"]
    assert by_source["model"] > 0.75
    assert by_source["no change"] == 0


def test_the_name_is_read(treated, model) -> None:
    perturb(treated, model=model, perturbation=["IFN", "IL-6", "none"])
    genes = pd.Index(treated.uns["c2s_perturbed_IFN"]["var_names"])
    changes = {name: treated.uns[f"c2s_perturbed_{name}"]["changes"].mean(axis=0) for name in ("IFN", "IL-6", "none")}
    raised = {"IFN": [f"GENE{i}" for i in range(20, 24)], "IL-6": ["GENE30", "GENE31"]}
    for name, others in (("IFN", "IL-6"), ("IL-6", "IFN")):
        own = changes[name][genes.get_indexer(raised[name])]
        foreign = changes[name][genes.get_indexer(raised[others])]
        assert own.mean() > 2.5 * np.abs(foreign).mean()
    assert np.abs(changes["none"]).sum() < 0.25 * np.abs(changes["IL-6"]).sum()
    metrics = treated.uns["c2s_perturbed_IFN"]["metrics"].groupby("source")["pearson_delta"].mean()
    assert metrics["scrambled name"] < metrics["model"] - 0.3


def test_the_mean_of_the_cells_changes_by_the_change(treated, model) -> None:
    perturb(treated, model=model, perturbation="IFN")
    stored = treated.uns["c2s_perturbed"]
    before = log_expression(sparse.csr_matrix(treated.X))[:, treated.var_names.get_indexer(stored["var_names"])]
    for context, change in zip(stored["contexts"], stored["changes"], strict=True):
        here = controls(treated) & (treated.obs["cell_type"] == context).to_numpy()
        rise = treated.obsm["c2s_perturbed"][here].mean(axis=0) - np.asarray(before[here].mean(axis=0)).ravel()
        up = change > 0
        np.testing.assert_allclose(rise[up], change[up], atol=0.05)
        assert np.corrcoef(rise, change)[0, 1] > 0.99


def test_batches_and_other_cells_change_nothing(treated, model) -> None:
    perturb(treated, model=model, perturbation="IFN", n_samples=2)
    one = perturb(treated, model=model, perturbation="IFN", n_samples=1, batch_size=1, copy=True)
    assert one is not None
    many = perturb(treated, model=model, perturbation="IFN", batch_size=64, copy=True)
    assert many is not None
    np.testing.assert_allclose(one.obsm["c2s_perturbed"], many.obsm["c2s_perturbed"], atol=1e-4)
    half = treated[treated.obs["cell_type"] == UNSEEN][::-1].copy()
    perturb(half, model=model, perturbation="IFN")
    wanted = many[half.obs_names].obsm["c2s_perturbed"]
    np.testing.assert_allclose(half.obsm["c2s_perturbed"], wanted, atol=1e-4)


def test_both_containers_give_the_same(treated, model, make_muon) -> None:
    mdata = make_muon(treated.copy())
    perturb(treated, model=model, perturbation="IFN")
    perturb(mdata, model=model, perturbation="IFN", mod="rna")
    np.testing.assert_array_equal(treated.obsm["c2s_perturbed"], mdata.mod["rna"].obsm["c2s_perturbed"])
    np.testing.assert_array_equal(
        treated.uns["c2s_perturbed"]["changes"], mdata.mod["rna"].uns["c2s_perturbed"]["changes"]
    )


def test_a_hybrid_is_between_its_parts_and_called_so(treated, model) -> None:
    parts = [perturb(treated, model=model, perturbation="IFN", shift_weight=w, copy=True) for w in (0.0, 0.25, 1.0)]
    alone, mixed, shift = (part.uns["c2s_perturbed"]["changes"] for part in parts if part is not None)
    np.testing.assert_allclose(mixed, 0.75 * alone + 0.25 * shift, atol=1e-5)
    stored = treated if parts[1] is None else parts[1]
    place = list(stored.uns["c2s_perturbed"]["baselines"]).index("falls in proportion")
    np.testing.assert_allclose(shift, stored.uns["c2s_perturbed"]["shifts"][place], atol=1e-5)
    assert {"hybrid", "model"} <= set(stored.uns["c2s_perturbed"]["metrics"]["source"])


def test_no_change_is_larger_than_any_that_was_seen(treated, model) -> None:
    x = treated.X.toarray()
    x[:, :12] *= 20  # cells far beyond those of training
    treated.X = sparse.csr_matrix(x)
    perturb(treated, model=model, perturbation="IFN")
    card, stored = directory.read(model), treated.uns["c2s_perturbed"]
    seen = card.shifts["shifts"][:, card.perturbations["values"].index("IFN")]
    most = np.nanmax(seen, axis=0, initial=0.0)[pd.Index(card.genes).get_indexer(stored["var_names"])]
    assert (stored["changes"] <= most + 1e-5).all()


def test_readings_spread_and_repeat(treated, model) -> None:
    runs = [perturb(treated, model=model, perturbation="IFN", n_samples=4, copy=True) for _ in range(2)]
    first, second = (run.obsm["c2s_perturbed_sd"] for run in runs if run is not None)
    np.testing.assert_array_equal(first, second)
    assert np.isnan(first[~controls(treated)]).all()
    assert (first[controls(treated)].max(axis=1) > 0).all()


def test_counts_and_log_values_give_the_same(treated, model) -> None:
    perturb(treated, model=model, perturbation="IFN")
    treated.layers["log"] = log_expression(sparse.csr_matrix(treated.X))
    other = perturb(treated, model=model, perturbation="IFN", layer="log", copy=True)
    assert other is not None
    np.testing.assert_allclose(treated.obsm["c2s_perturbed"], other.obsm["c2s_perturbed"], atol=1e-4)


def test_cells_without_a_column_of_perturbations_are_control_cells(treated, model) -> None:
    patient = treated[controls(treated)].copy()
    wanted = perturb(patient, model=model, perturbation="IFN", copy=True)
    del patient.obs["treatment"]
    perturb(patient, model=model, perturbation="IFN")
    assert wanted is not None
    np.testing.assert_array_equal(patient.obsm["c2s_perturbed"], wanted.obsm["c2s_perturbed"])
    assert "metrics" not in patient.uns["c2s_perturbed"]


def test_a_cell_without_known_genes_is_not_predicted(treated, model) -> None:
    cell = np.flatnonzero(controls(treated))[0]
    x = treated.X.tolil()
    x[cell] = 0
    treated.X = x.tocsr()
    perturb(treated, model=model, perturbation="IFN")
    assert np.isnan(treated.obsm["c2s_perturbed"][cell]).all()
    assert treated.uns["c2s_perturbed"]["n_failed"] == 1
    assert treated.obs_names[cell] not in perturbed(treated).obs_names


def test_what_is_far_from_training_says_so(treated, model) -> None:
    known = perturb(treated, model=model, perturbation="IFN", copy=True)
    x = treated.X.toarray()
    treated.X = sparse.csr_matrix(x[:, ::-1])  # other genes are high, in all cells
    perturb(treated, model=model, perturbation="IFN")
    assert known is not None
    assert (treated.uns["c2s_perturbed"]["novelty"] > 0.6).all()
    assert known.uns["c2s_perturbed"]["novelty"].max() == 0


@pytest.mark.parametrize("container", ["h5ad", "zarr", "h5mu"])
def test_round_trip(any_treated, model, tmp_path, container) -> None:
    data, is_mudata = any_treated.data, bool(any_treated.where)
    if is_mudata != (container == "h5mu"):
        pytest.skip("the other container")
    perturb(data, model=model, perturbation=["IFN", "IL-6"], n_samples=2, **any_treated.where)
    path = tmp_path / f"cells.{container}"
    getattr(data, f"write_{container}")(path)
    read = {"h5ad": anndata.read_h5ad, "zarr": anndata.read_zarr, "h5mu": mudata.read_h5mu}[container]
    back = read(path)
    key = "c2s_perturbed_IFN"
    wanted, found = (perturbed(one, key=key, **any_treated.where) for one in (data, back))
    np.testing.assert_array_equal(wanted.X, found.X)
    adata = back.mod["rna"] if is_mudata else back
    pd.testing.assert_frame_equal(
        adata.uns[key]["metrics"], any_treated.adata.uns[key]["metrics"], check_dtype=False, check_index_type=False
    )


def test_held_out_cells_are_the_test_cells(make_treated_cells, tmp_path) -> None:
    adata = make_treated_cells(90)
    held = {"cell_type": ["B cell"], "treatment": "IL-6"}
    finetune(adata, held_out=held, output_dir=tmp_path, n_epochs=1, **TASK, **FAST)
    wanted = (adata.obs["cell_type"] == "B cell") & (adata.obs["treatment"] == "IL-6")
    np.testing.assert_array_equal(adata.obs["c2s_split"] == "test", wanted)
    card = directory.read(tmp_path)
    assert np.isnan(card.shifts["shifts"][card.perturbations["contexts"].index("B cell"), 1]).all()
    assert set(card.metrics) == {"validation", "test"}
    assert adata.uns["c2s_finetune"]["params"]["condition_key"] == "treatment"


@pytest.mark.parametrize("pairing", ["nearest", "ot"])
def test_other_pairings_learn_the_same_plain_effect(make_treated_cells, tmp_path, pairing) -> None:
    adata = make_treated_cells()
    finetune(adata, pairing=pairing, output_dir=tmp_path, n_epochs=4, **TASK, **FAST)
    perturb(adata, model=tmp_path, perturbation="IFN")
    stored = adata.uns["c2s_perturbed"]
    assert directory.read(tmp_path).perturbations["pairing"] == pairing
    strongest = stored["var_names"][np.argsort(-stored["changes"].mean(axis=0))[:4]]
    assert set(strongest) == {f"GENE{i}" for i in range(20, 24)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"perturbation": "TNF"}, "does not know 'TNF'.*IFN, IL-6"),
        ({"perturbation": []}, "perturbation= is empty"),
        ({"perturbation": "IFN", "n_samples": 0}, "n_samples=0"),
        ({"perturbation": "IFN", "shift_weight": 2.0}, "shift_weight=2.0"),
        ({"perturbation": "IFN", "control": "DMSO"}, "No cell has the value 'DMSO'"),
        ({"perturbation": ["IFN / IL-6", "IFN _ IL-6"]}, "does not know"),
    ],
)
def test_bad_input_gets_one_sentence(treated, model, change, message) -> None:
    with pytest.raises(ValueError, match=message):
        perturb(treated, model=model, **change)
    assert "c2s_perturbed" not in treated.uns


def test_a_gene_of_the_vocabulary_may_be_perturbed_without_having_been(treated, model) -> None:
    perturb(treated, model=model, perturbation="GENE5")
    stored = treated.uns["c2s_perturbed"]
    assert np.isfinite(stored["changes"]).all()
    # No context has seen it: what shifts without a model say is the mean over the perturbations that it has.
    card = directory.read(model)
    seen = [card.perturbations["contexts"].index(name) for name in card.perturbations["contexts"] if name != UNSEEN]
    mean = np.nanmean(card.shifts["shifts"][seen], axis=(0, 1))
    place = list(stored["baselines"]).index("mean shift")
    wanted = mean[pd.Index(card.genes).get_indexer(stored["var_names"])]
    np.testing.assert_allclose(stored["shifts"][place][0], wanted, atol=1e-5)


def test_other_genes_are_refused(treated, model) -> None:
    treated.var_names = [f"other{i}" for i in range(treated.n_vars)]
    with pytest.raises(ValueError, match="gene_symbols="):
        perturb(treated, model=model, perturbation="IFN")


def test_other_tasks_are_refused(treated, model) -> None:
    with pytest.raises(ValueError, match="was trained to perturb"):
        annotate(treated, model=model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"control": "DMSO"}, "No cell has the value 'DMSO'"),
        ({"control": None}, "control="),
        ({"groupby": "treatment"}, "the perturbations themselves"),
        ({"pairing": "best"}, "no pairing 'best'"),
        ({"held_out": {"cell_type": "NK"}}, "names 'NK'"),
        ({"held_out": {"treatment": "none"}}, "no perturbed cell"),
        ({"task": ["perturb", "annotate"]}, "alone"),
        ({"task": "annotate"}, "is for task='perturb'"),
    ],
)
def test_training_refuses_with_one_sentence(make_treated_cells, tmp_path, change, message) -> None:
    with pytest.raises(ValueError, match=message):
        finetune(make_treated_cells(90), output_dir=tmp_path, **(TASK | change), **FAST)


def test_profiles_that_were_measured_once(make_treated_cells, tmp_path) -> None:
    bulk = make_treated_cells(60)
    once = np.array(["none"] * 30 + [f"drug{i}" for i in range(30)], dtype=object)
    bulk.obs["treatment"] = once
    held = {"treatment": ["drug3", "drug7"]}
    options = TASK | {"groupby": None, "held_out": held, "min_cells": 1}
    finetune(bulk, output_dir=tmp_path, n_epochs=1, **options, **FAST)
    card = directory.read(tmp_path)
    assert card.perturbations["values"] == sorted(set(once) - {"none", "drug3", "drug7"})
    assert not np.isnan(card.shifts["shifts"]).any()
    perturb(bulk, model=tmp_path, perturbation="drug1")
    assert np.isfinite(bulk.uns["c2s_perturbed"]["changes"]).all()
