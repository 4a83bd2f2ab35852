"""A screen on two contexts: what was planted is found, what was not is not, and nothing else matters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scanpy import logging as logg
from scipy import sparse

from sc_c2s.models import directory, nano
from sc_c2s.sentences.inverse import log_expression
from sc_c2s.tl import finetune, perturb, screen

B, MONOCYTE, T = "B cell", "CD14+ monocyte", "T cell, CD4/CD8"
FAST: dict[str, Any] = {"batch_size": 16, "device": "cpu", "dtype": "float32"}
TASK: dict[str, Any] = {"task": "perturb", "condition_key": "treatment", "control": "none", "groupby": "cell_type"}
PROGRAM = [f"GENE{i}" for i in range(20, 24)]
SCRAMBLED = [f"GENE{i}" for i in (25, 28, 33, 36)]
COLUMNS = [
    *("candidate", "effect_a", "effect_b", "split", "split_z", "p_value", "p_adj", "hit"),
    *("baseline_a", "baseline_b", "baseline_split", "novelty_a", "novelty_b"),
]


def treated(make_cells: Callable[..., AnnData], n: int = 180, *, seed: int = 0) -> AnnData:
    """IFN raises the program in all types, IL-6 in B cells alone; of two cells of a type and treatment one is "y"."""
    adata, rng = make_cells(n, seed=seed), np.random.default_rng(seed + 7)
    treatment = np.arange(n) // 3 % 3
    raised = (treatment == 1) | ((treatment == 2) & (adata.obs["cell_type"] == B).to_numpy())
    # Genes that are there in every cell, so that a few cells tell what nothing acts on.
    rates = np.full(adata.shape, 5.0)
    rates[np.ix_(raised, range(20, 24))] += 20
    adata.X = sparse.csr_matrix(adata.X + rng.poisson(rates)).astype(np.float32)
    adata.obs["treatment"] = pd.Categorical.from_codes(treatment, categories=["none", "IFN", "IL-6"])
    adata.obs["lane"] = np.where(np.arange(n) // 9 % 2, "x", "y")
    return adata


@pytest.fixture(scope="module")
def model(make_cells, tmp_path_factory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("screen") / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano, "build", partial(nano.build, n_layers=1))
        finetune(treated(make_cells, 540), output_dir=path, n_epochs=20, learning_rate=1e-3, **TASK, **FAST)
        yield path


@pytest.fixture
def cells(make_cells) -> AnnData:
    return treated(make_cells, seed=1)


def run(data: Any, model: Path, **options: Any) -> Any:
    return screen(data, model=model, **{"genes": PROGRAM, "contexts": (B, T), "device": "cpu", **options})


def table_of(data: AnnData, model: Path, **options: Any) -> pd.DataFrame:
    run(data, model, **options)
    return data.uns["c2s_screen"]["table"]


def test_what_is_written(cells, model) -> None:
    before = cells.copy()
    assert run(cells, model) is None
    stored = cells.uns["c2s_screen"]
    assert set(stored) == {
        *("table", "contexts_a", "contexts_b", "genes", "n_cells", "n_hits", "share_also_baseline", "params"),
    }
    table = stored["table"]
    assert list(table.columns) == COLUMNS
    assert sorted(table["candidate"]) == ["IFN", "IL-6"]
    assert list(stored["contexts_a"]) == [B]
    assert list(stored["contexts_b"]) == [T]
    assert list(stored["genes"]) == PROGRAM
    assert list(stored["n_cells"]) == [20, 20]
    assert stored["n_hits"] == table["hit"].sum()
    assert (table["hit"] == (table["p_adj"] < 0.05)).all()
    np.testing.assert_allclose(table["split"], table["effect_a"] - table["effect_b"])
    assert table["split"].abs().is_monotonic_decreasing
    assert stored["params"]["control"] == "none"
    assert list(stored["params"]["groupby"]) == ["cell_type"]
    assert set(cells.uns) - set(before.uns) == {"c2s_screen"}
    assert list(cells.obs) == list(before.obs)
    assert not cells.obsm
    assert (cells.X != before.X).nnz == 0


def test_what_acts_in_one_context_only_comes_first(cells, model) -> None:
    table = table_of(cells, model)
    one, everywhere = table.to_dict("records")
    assert (one["candidate"], everywhere["candidate"]) == ("IL-6", "IFN")
    assert one["hit"]
    assert one["split"] > 2 * abs(everywhere["split"])
    assert one["effect_a"] > 2 * one["effect_b"]
    assert everywhere["effect_b"] > 1
    assert one["p_value"] == 1 / 1001
    # Both types are training contexts, so their own shifts tell the same.
    assert one["baseline_split"] > 3 * abs(everywhere["baseline_split"])
    assert cells.uns["c2s_screen"]["share_also_baseline"] in (0.5, 1)  # one or two hits, IL-6 among them
    turned = table_of(cells, model, contexts=(T, B)).set_index("candidate")
    assert turned.loc["IL-6", "split"] == pytest.approx(-one["split"], rel=1e-5)


def test_effects_are_those_that_perturb_predicts(cells, model) -> None:
    table = table_of(cells, model).set_index("candidate")
    perturb(cells, model=model, perturbation="IL-6", device="cpu")
    stored = cells.uns["c2s_perturbed"]
    here = np.isin(stored["var_names"].astype(str), PROGRAM)
    for side, context in (("a", B), ("b", T)):
        row = list(stored["contexts"]).index(context)
        for name, changes in (
            ("effect", stored["changes"][row]),
            ("baseline", stored["shifts"][list(stored["baselines"]).index("similarity-weighted shift"), row]),
        ):
            expected = changes[here].mean() - changes.mean()
            assert table.loc["IL-6", f"{name}_{side}"] == pytest.approx(expected, rel=1e-4)
        novelty = stored["novelty"][row]
        assert table.loc["IL-6", f"novelty_{side}"] == pytest.approx(novelty, nan_ok=True)


def test_genes_that_nothing_acts_on_are_no_program(cells, model) -> None:
    program, scrambled = (table_of(cells, model, genes=genes) for genes in (PROGRAM, SCRAMBLED))
    assert scrambled["split"].abs().max() < 0.2 * program["split"].abs().max()
    found = scrambled[["effect_a", "effect_b"]].abs().to_numpy().max()
    assert found < 0.2 * program[["effect_a", "effect_b"]].to_numpy().max()


def test_halves_of_one_type_do_not_split(cells, model) -> None:
    table = table_of(cells, model, groupby=["cell_type", "lane"], contexts=(f"{B} | x", f"{B} | y"))
    assert not table["hit"].any()
    stored = cells.uns["c2s_screen"]
    assert stored["n_hits"] == 0
    assert np.isnan(stored["share_also_baseline"])
    assert list(stored["params"]["groupby"]) == ["cell_type", "lane"]


def test_contexts_are_pooled(cells, model) -> None:
    pooled = table_of(cells, model, contexts=(B, [T, MONOCYTE])).set_index("candidate")
    stored = cells.uns["c2s_screen"]
    assert list(stored["contexts_b"]) == [T, MONOCYTE]
    assert list(stored["n_cells"]) == [20, 40]
    alone = [table_of(cells, model, contexts=(B, name)).set_index("candidate") for name in (T, MONOCYTE)]
    for name in ("IFN", "IL-6"):
        mean = np.mean([one.loc[name, "effect_b"] for one in alone])
        assert pooled.loc[name, "effect_b"] == pytest.approx(mean, rel=1e-4)


def test_baseline_of_pooled_control_cells(cells, model) -> None:
    """Weights are those of the mean of all control cells of both types, of all cells and not only of those read."""
    table = table_of(cells, model, contexts=([B, T], MONOCYTE), n_cells=3).set_index("candidate")
    card = directory.read(model)
    genes, shifts = np.array(card.genes), card.shifts
    here = (cells.obs["treatment"] == "none") & cells.obs["cell_type"].isin([B, T])
    log = log_expression(sparse.csr_matrix(cells.X))[here.to_numpy()][:, cells.var_names.get_indexer(genes)]
    r = [np.corrcoef(control, np.asarray(log.mean(axis=0)).ravel())[0, 1] for control in shifts["control_means"]]
    weights = np.exp(np.array(r) / 0.05)
    shift = weights / weights.sum() @ shifts["shifts"][:, card.perturbations["values"].index("IL-6")]
    expected = shift[np.isin(genes, PROGRAM)].mean() - shift.mean()
    assert table.loc["IL-6", "baseline_a"] == pytest.approx(expected, rel=1e-4)


def test_cells_are_drawn_once_for_all_candidates(cells, model) -> None:
    both = table_of(cells, model, n_cells=7, rng=3).set_index("candidate")
    assert list(cells.uns["c2s_screen"]["n_cells"]) == [7, 7]
    alone = table_of(cells, model, n_cells=7, rng=3, candidates="IL-6").set_index("candidate")
    columns = ["effect_a", "effect_b", "split_z", "p_value"]
    np.testing.assert_allclose(
        alone.loc["IL-6", columns].astype(float), both.loc["IL-6", columns].astype(float), rtol=1e-5
    )
    other = table_of(cells, model, n_cells=7, random_state=4).set_index("candidate")
    assert abs(other.loc["IL-6", "effect_a"] - both.loc["IL-6", "effect_a"]) > 1e-6


def test_combinations_and_what_the_baseline_does_not_know(cells, model) -> None:
    table = table_of(cells, model, candidates=["IL-6", "IFN + IL-6", "IL-6"]).set_index("candidate")
    assert sorted(table.index) == ["IFN + IL-6", "IL-6"]
    assert np.isfinite(table["baseline_split"]).all()


def test_the_batch_does_not_matter(cells, model) -> None:
    one, many = (table_of(cells, model, batch_size=size) for size in (1, 64))
    pd.testing.assert_frame_equal(one, many, rtol=1e-4, atol=1e-6)


def test_anndata_and_mudata_are_the_same(cells, model) -> None:
    proteins = AnnData(np.ones((cells.n_obs, 2), dtype=np.float32), obs=pd.DataFrame(index=cells.obs_names))
    both = mudata.MuData({"rna": cells.copy(), "prot": proteins})
    run(cells, model)
    assert run(both, model, mod="rna") is None
    pd.testing.assert_frame_equal(cells.uns["c2s_screen"]["table"], both["rna"].uns["c2s_screen"]["table"])
    assert both["rna"].uns["c2s_screen"]["params"]["mod"] == "rna"


def test_copy_and_key(cells, model) -> None:
    copied = run(cells, model, copy=True, key_added="mine")
    assert "mine" in copied.uns
    assert not {"mine", "c2s_screen"} & set(cells.uns)


@pytest.mark.parametrize("kind", ["h5ad", "zarr", "h5mu"])
def test_round_trip(cells, model, tmp_path, kind) -> None:
    path = tmp_path / f"cells.{kind}"
    # Without hits there is a NaN to keep, too.
    run(cells, model, groupby=["cell_type", "lane"], contexts=(f"{B} | x", [f"{B} | y", f"{T} | y"]))
    if kind == "h5mu":
        mudata.MuData({"rna": cells}).write(path)
        after = mudata.read_h5mu(path)["rna"]
    else:
        (cells.write_h5ad if kind == "h5ad" else cells.write_zarr)(path)
        after = (anndata.read_h5ad if kind == "h5ad" else anndata.read_zarr)(path)
    before, after = cells.uns["c2s_screen"], after.uns["c2s_screen"]
    pd.testing.assert_frame_equal(
        before["table"], after["table"].reset_index(drop=True), check_dtype=False, check_index_type=False
    )
    assert after["table"]["hit"].dtype == bool
    for name in ("contexts_a", "contexts_b", "genes", "n_cells"):
        assert list(after[name]) == list(before[name])
    assert after["n_hits"] == before["n_hits"]
    np.testing.assert_equal(float(after["share_also_baseline"]), before["share_also_baseline"])
    assert set(after["params"]) == set(before["params"])


def test_genes_that_are_left_out_and_few_permutations_are_told(cells, model, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(logg, "warning", said.append)
    run(cells, model, genes=[*PROGRAM, "NOWHERE", PROGRAM[0]], n_permutations=30)
    assert list(cells.uns["c2s_screen"]["genes"]) == PROGRAM
    assert any("one hit alone among 2 candidates" in line and "n_permutations=80" in line for line in said)
    assert any(line.startswith("1 of the 5 genes of the program") for line in said)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"contexts": (B, "Neuron")},
            ValueError,
            "No control cell has the context 'Neuron'; there are 'B cell', 'CD14",
        ),
        ({"contexts": (B, [T, "Neuron"])}, ValueError, r"values of 'cell_type'\): name two of these"),
        ({"contexts": (B, [T, B])}, ValueError, "'B cell' on both sides"),
        ({"contexts": (B, [])}, ValueError, "empty list"),
        ({"contexts": (B,)}, ValueError, "has to be a pair"),
        ({"contexts": "BT"}, ValueError, "has to be a pair"),
        ({"genes": [*PROGRAM[:2], "X1"]}, ValueError, r"Of the 3 genes= 2 are among the \d+ genes .*\('X1' not\)"),
        ({"genes": "GENE20"}, ValueError, "Of the 1 genes= 1 are among"),
        ({"candidates": "IL-7"}, ValueError, "does not know 'IL-7'; it knows IFN, IL-6"),
        ({"candidates": []}, ValueError, "candidates= is empty"),
        ({"candidates": ["IFN", "none"]}, ValueError, "holds 'none'"),
        ({"n_permutations": 0}, ValueError, "n_permutations=0 has to be 1"),
        ({"n_cells": 1}, ValueError, "n_cells=1"),
        ({"control": "ctrl"}, ValueError, "No cell has the value 'ctrl'"),
        ({"groupby": "donor_id"}, KeyError, "no column 'donor_id'"),
        ({"model": 3}, TypeError, "model= has to be a path"),
    ],
)
def test_bad_input(cells, model, options, error, message) -> None:
    with pytest.raises(error, match=message):
        run(cells, **{"model": model, **options})
    assert "c2s_screen" not in cells.uns


def test_too_few_control_cells(cells, model) -> None:
    cells.obs["kind"] = np.where(np.arange(cells.n_obs) < 2, "rare", "common")
    with pytest.raises(ValueError, match="Of 'rare' there are 2 control cells .* pool it"):
        run(cells, model, groupby="kind", contexts=("common", "rare"))
