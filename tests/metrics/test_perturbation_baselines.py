"""Predictions without a model: shifts whose sums are known."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse

from sc_c2s.metrics.context_weights import (
    blend_weights,
    mean_weights,
    nearest_weights,
    neighbour_weights,
    ridge_penalty,
    ridge_weights,
    similarities,
    similarity_weights,
)
from sc_c2s.metrics.effects import pearson_delta
from sc_c2s.metrics.perturbation import perturbation
from sc_c2s.metrics.perturbation_baselines import perturbation_baselines

METHODS = ["mean shift", "nearest context", "similarity-weighted shift", "k-NN on control cells", "ridge", "best blend"]
N_GENES = 40
BY = {"condition_key": "drug", "control": "none", "groupby": "type"}

# Weights


def ridge(controls: np.ndarray, shifts: np.ndarray, target: np.ndarray) -> np.ndarray:
    return ridge_weights(controls, target, penalty=ridge_penalty(controls, shifts))


def test_similarities_by_hand() -> None:
    controls = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
    target = np.array([2.0, 4.0, 6.0])
    # The third is centred (2, -1, -1)/3, the target (-2, 0, 2): -6/3 over the root of 6/9 · 8.
    expected = [1, -1, -2 / np.sqrt(48 / 9), 0]
    np.testing.assert_allclose(similarities(controls, target), expected, atol=1e-12)
    np.testing.assert_array_equal(nearest_weights(controls, target), [1, 0, 0, 0])
    softmax = np.exp(np.array(expected) / 0.5)
    np.testing.assert_allclose(similarity_weights(controls, target, temperature=0.5), softmax / softmax.sum())
    assert similarity_weights(controls, target)[0] == pytest.approx(1), "1 is twenty times 0.05 above 0"
    np.testing.assert_array_equal(mean_weights(4), 0.25)


def test_neighbour_weights_by_hand() -> None:
    cells, contexts = np.array([[0.0], [1.0], [2.0], [10.0], [11.0]]), np.array([0, 0, 2, 1, 1])
    found = neighbour_weights(cells, contexts, np.array([[1.0], [10.4]]), n_contexts=3, k=3)
    np.testing.assert_allclose(found, [[2 / 3, 0, 1 / 3], [0, 2 / 3, 1 / 3]])
    everything = neighbour_weights(cells, contexts, np.array([[1.0]]), n_contexts=3)
    np.testing.assert_allclose(everything, [[2 / 5, 2 / 5, 1 / 5]])


def test_ridge_finds_a_shift_that_grows_with_a_component() -> None:
    """Contexts on a line: the shift of a target beyond them is that of the line, which no mean of theirs is."""
    place = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None]
    direction, effect = np.array([[1.0, 2.0, 0.0, -1.0]]), np.array([[3.0, -1.0, 0.5, 2.0]])
    controls, shifts = 5 + place * direction, 1 + place * effect
    weights = ridge(controls, shifts, 5 + 3 * direction[0])
    assert weights.sum() == pytest.approx(1)
    # One component, standardised: n squares over n plus the least penalty is what is left of the slope.
    np.testing.assert_allclose(weights @ shifts, 1 + 3 * effect[0] * 5 / 5.1)


def test_ridge_shrinks_to_the_mean_where_components_say_nothing() -> None:
    rng = np.random.default_rng(0)
    controls, shifts = rng.normal(size=(8, 30)), rng.normal(size=(8, 3000))
    np.testing.assert_allclose(ridge(controls, shifts, controls[0]), 1 / 8, atol=0.01)
    np.testing.assert_array_equal(ridge(controls[:3], shifts[:3], controls[0]), 1 / 3)
    np.testing.assert_allclose(ridge(np.ones((5, 30)), shifts[:5], np.ones(30)), 1 / 5)


def test_blend_weights_by_hand() -> None:
    candidates = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(blend_weights(candidates, candidates @ [0.25, 2.0]), [0.25, 2], atol=1e-12)
    # A negative weight is not allowed; the other is then fitted alone: (1 + 0.5) / 2.
    np.testing.assert_allclose(blend_weights(candidates, np.array([1.0, -0.5, 0.5])), [0.75, 0], atol=1e-12)


# Predicted cells


def profile(kind: str) -> np.ndarray:
    """Types of one letter are alike."""
    letter = np.random.default_rng(ord(kind[0])).gamma(2, 0.5, size=N_GENES)
    return letter + np.random.default_rng(sum(map(ord, kind))).normal(scale=0.02, size=N_GENES)


def effect(kind: str, drug: str) -> np.ndarray:
    """Every letter has a direction of its own."""
    return np.random.default_rng([ord(kind[0]), sum(map(ord, drug))]).uniform(0.1, 2, size=N_GENES)


def cells(kind: str, drug: str = "none", *, n: int = 6, drug_effect: np.ndarray | None = None) -> AnnData:
    """Cells around the profile of the type whose mean is exact, as each has its mirror image."""
    noise = np.random.default_rng(0).normal(scale=0.01, size=(n // 2, N_GENES))
    noise = np.concatenate([noise, -noise, np.zeros((n % 2, N_GENES))])
    shift = effect(kind, drug) if drug_effect is None else drug_effect
    x = 1 + profile(kind) + noise + (0 if drug == "none" else shift)
    obs = pd.DataFrame({"type": kind, "drug": drug}, index=[f"{kind}-{drug}-{i}" for i in range(n)])
    return AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]))


def trained(*kinds: str, drugs: tuple[str, ...] = ("one", "two")) -> AnnData:
    return anndata.concat([cells(kind, drug, n=20) for kind in kinds for drug in ("none", *drugs)])


def shifts(found: dict[str, AnnData], controls: AnnData, drug: str) -> dict[str, np.ndarray]:
    """Mean shift by method."""
    return {
        name: made[made.obs["drug"] == drug].X.mean(axis=0) - controls.X.mean(axis=0) for name, made in found.items()
    }


def test_rows_and_labels() -> None:
    controls = anndata.concat([cells("a9", n=3), cells("b9", n=4)])
    controls.obs["batch"] = "x"
    found = perturbation_baselines(trained("a1", "b1"), controls, perturbations=["two", "one"], **BY)
    assert list(found) == METHODS
    for made in found.values():
        assert list(made.obs["drug"]) == ["two"] * 7 + ["one"] * 7
        assert list(made.obs["type"]) == (["a9"] * 3 + ["b9"] * 4) * 2
        assert list(made.obs) == ["type", "drug"]
        assert made.obs_names[0] == "a9-none-0-two"
        assert made.obs_names.is_unique
        assert made.X.dtype == np.float32
        assert isinstance(made.X, np.ndarray)
        # What is added to the cells of a type is one shift here, as every cell has the neighbours of its type.
        changes = made.X[:3] - controls.X[:3]
        np.testing.assert_allclose(changes, np.tile(changes[0], (3, 1)), atol=1e-6)
    every = perturbation_baselines(trained("a1", "b1"), controls, **BY)["mean shift"]
    assert list(every.obs["drug"].unique()) == ["one", "two"]


def test_mean_and_nearest_shift_are_exact() -> None:
    train, controls = trained("a1", "a2", "b1"), cells("a9")
    found = perturbation_baselines(train, controls, **BY)
    by_hand = (2 * effect("a", "two") + effect("b", "two")) / 3
    made = found["mean shift"]
    np.testing.assert_allclose(made[made.obs["drug"] == "two"].X, controls.X + by_hand, atol=1e-5)
    for drug in ("one", "two"):
        known = shifts(found, controls, drug)
        for name in METHODS[1:4]:
            np.testing.assert_allclose(known[name], effect("a", drug), atol=1e-4, err_msg=name)


def test_neighbours_are_found_for_each_cell_alone() -> None:
    """A context of cells of two kinds: each has the shift of its own kind."""
    train, mixed = anndata.concat([cells(k, d, n=20) for k in ("a1", "b1") for d in ("none", "one")]), cells("a9", n=4)
    mixed.X[2:] = cells("b9", n=2).X
    found = perturbation_baselines(train, mixed, **BY)["k-NN on control cells"]
    expected = np.array([effect("a", "one")] * 2 + [effect("b", "one")] * 2)
    np.testing.assert_allclose(found.X - mixed.X, expected, atol=1e-5)


def test_the_same_context_counts_like_any_other() -> None:
    found = perturbation_baselines(trained("a1", "b1"), cells("a1"), **BY)
    known = shifts(found, cells("a1"), "one")
    np.testing.assert_allclose(known["mean shift"], (effect("a", "one") + effect("b", "one")) / 2, atol=1e-5)
    np.testing.assert_allclose(known["nearest context"], effect("a", "one"), atol=1e-5)


def test_the_blend_takes_the_methods_that_predict_left_out_contexts() -> None:
    """Contexts in pairs: the nearest one tells all, the mean of the others hardly anything."""
    train, controls = trained("a1", "a2", "b1", "b2", "c1", "c2"), cells("b9")
    found = perturbation_baselines(train, controls, **BY)
    weights = found["best blend"].uns["weights"]
    assert list(weights) == METHODS[:5]
    assert all(isinstance(weight, float) and weight >= 0 for weight in weights.values())
    assert weights["mean shift"] < 0.02
    assert sum(weights[name] for name in METHODS[1:5]) == pytest.approx(1, abs=0.02)
    made = shifts(found, controls, "two")
    np.testing.assert_allclose(made["best blend"], effect("b", "two"), atol=0.05)
    by_hand = sum(weight * made[name] for name, weight in weights.items())
    np.testing.assert_allclose(made["best blend"], by_hand, atol=1e-5)


def test_the_blend_does_not_see_the_context_that_it_leaves_out() -> None:
    """Contexts that have nothing in common: were one its own neighbour, the nearest one would seem to tell all."""
    found = perturbation_baselines(trained(*"abcdefgh"), cells("z9"), **BY)
    weights = found["best blend"].uns["weights"]
    assert weights["mean shift"] + weights["ridge"] > 0.7
    assert weights["nearest context"] + weights["k-NN on control cells"] < 0.2


def test_two_contexts_have_no_blend_and_three_no_ridge() -> None:
    found = perturbation_baselines(trained("a1", "b1"), cells("a9"), **BY)
    assert found["best blend"].uns["weights"] == dict.fromkeys(METHODS[:5], 0.0) | {"mean shift": 1.0}
    np.testing.assert_array_equal(found["best blend"].X, found["mean shift"].X)
    three = perturbation_baselines(trained("a1", "b1", "c1"), cells("a9"), **BY)
    np.testing.assert_allclose(three["ridge"].X, three["mean shift"].X, atol=1e-6)
    # A perturbation of two contexts has the mean shift where others have a blend.
    train = anndata.concat([trained("a1", "a2", "b1", "b2", drugs=("one",)), cells("a1", "new"), cells("b1", "new")])
    mixed = perturbation_baselines(train, cells("a9"), **BY)
    new, one = (mixed["best blend"].obs["drug"] == drug for drug in ("new", "one"))
    np.testing.assert_array_equal(mixed["best blend"].X[new], mixed["mean shift"].X[new])
    assert np.abs(mixed["best blend"].X[one] - mixed["mean shift"].X[one]).max() > 0.1


def test_contexts_with_too_few_cells_take_no_part() -> None:
    few = [cells("b1", n=20), cells("b1", "one", n=2), cells("c1", n=2), cells("c1", "one")]
    found = perturbation_baselines(anndata.concat([trained("a1"), *few]), cells("c9"), perturbations=["one"], **BY)
    for name, shift in shifts(found, cells("c9"), "one").items():
        np.testing.assert_allclose(shift, effect("a", "one"), atol=1e-5, err_msg=name)


def test_a_perturbation_that_was_not_seen_gets_the_mean_of_those_that_were(monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(sc.logging, "warning", said.append)
    # Two contexts have drug one, a single one has drug two.
    train = anndata.concat([trained("a1"), trained("b1", drugs=("one",))])
    found = perturbation_baselines(train, cells("a9"), perturbations=["new"], **BY)
    made = shifts(found, cells("a9"), "new")
    one, two = (effect("a", "one") + effect("b", "one")) / 2, effect("a", "two")
    np.testing.assert_allclose(made["mean shift"], (one + two) / 2, atol=1e-5)
    np.testing.assert_allclose(made["nearest context"], (effect("a", "one") + effect("a", "two")) / 2, atol=1e-5)
    by_b = shifts(perturbation_baselines(train, cells("b9"), perturbations=["new"], **BY), cells("b9"), "new")
    np.testing.assert_allclose(by_b["nearest context"], effect("b", "one"), atol=1e-5)
    assert said[0] == (
        "predicted by the mean of all perturbations, as no context of train has enough of their cells: new"
    )


def test_without_contexts_all_methods_are_one() -> None:
    found = perturbation_baselines(trained("a1"), cells("a9"), **BY | {"groupby": None})
    assert list(found["ridge"].obs) == ["drug"]
    for name, shift in shifts(found, cells("a9"), "one").items():
        np.testing.assert_allclose(shift, effect("a", "one"), atol=1e-5, err_msg=name)


def test_sparse_cells_and_other_orders_of_genes_give_the_same() -> None:
    train, controls = trained("a1", "a2", "b1", "b2"), cells("a9")
    known = perturbation_baselines(train, controls, **BY)
    packed, few = train[:, ::-1].copy(), controls.copy()
    packed.X, few.X = sparse.csr_matrix(packed.X), sparse.csr_matrix(few.X)
    del few.obs["drug"]  # controls need no column that says they are
    found = perturbation_baselines(packed, few, **BY)
    for name, made in found.items():
        np.testing.assert_allclose(made.X, known[name].X, atol=1e-4, err_msg=name)
    part = perturbation_baselines(train[:, 10:].copy(), controls, **BY)["mean shift"]
    np.testing.assert_allclose(part.X, known["mean shift"][:, 10:].X, atol=1e-6)
    assert list(part.var_names) == list(train.var_names[10:])


def test_predictions_go_to_the_table_as_they_are() -> None:
    real = trained("a9", "b9")
    controls = real[real.obs["drug"] == "none"].copy()
    found = perturbation_baselines(trained("a1", "b1"), controls, **BY)
    table = perturbation(real, found.pop("nearest context"), others=found, **BY)
    assert table.loc[("predicted", "a9", "one"), "pearson_delta"] == pytest.approx(1, abs=1e-4)
    assert table.loc[("mean shift", "a9", "one"), "pearson_delta"] < 0.95


def test_clear_errors() -> None:
    train, controls = trained("a1"), cells("a9")
    with pytest.raises(KeyError, match="no column 'dose' in the set 'train'"):
        perturbation_baselines(train, controls, **BY | {"condition_key": "dose"})
    unmarked = controls.copy()
    del unmarked.obs["drug"]
    with pytest.raises(ValueError, match=r"No context of train has 3 control cells \('vehicle'\)"):
        perturbation_baselines(train, unmarked, **BY | {"control": "vehicle"})
    with pytest.raises(
        ValueError, match="controls holds cells of the perturbation 'one': leave in those of 'none' only"
    ):
        perturbation_baselines(train, train, **BY)
    with pytest.raises(ValueError, match="perturbations holds 'none', which marks control cells"):
        perturbation_baselines(train, controls, perturbations=["none"], **BY)
    unknown = cells("a9")
    unknown.obs.loc[unknown.obs_names[0], "type"] = np.nan
    with pytest.raises(ValueError, match="Some cells of controls have no context"):
        perturbation_baselines(train, unknown, **BY)
    other = cells("a9")
    other.var_names = [f"x{i}" for i in range(N_GENES)]
    with pytest.raises(ValueError, match="train and controls have no gene in common"):
        perturbation_baselines(train, other, **BY)


def test_known_correlations_on_cells_with_interferon(shared_data: Path) -> None:
    """Of mean and nearest shift, for each cell type left out in turn."""
    data = anndata.read_h5ad(shared_data / "kang2018_ifnb_pbmc_13999.h5ad")
    data = data[data.obs["cell_type_kang"].notna()].copy()
    sc.pp.normalize_total(data, target_sum=1e4)
    sc.pp.log1p(data)
    sc.pp.highly_variable_genes(data, n_top_genes=2000)
    data = data[:, data.var["highly_variable"]].copy()
    expected = {
        "B cells": (0.845, 0.801),
        "CD14+ Monocytes": (0.824, 0.944),
        "CD4 T cells": (0.835, 0.854),
        "CD8 T cells": (0.740, 0.854),
        "Dendritic cells": (0.861, 0.801),
        "FCGR3A+ Monocytes": (0.907, 0.944),
        "Megakaryocytes": (0.809, 0.740),
        "NK cells": (0.784, 0.811),
    }
    for kind, values in expected.items():
        here, stimulated = (data.obs["cell_type_kang"] == kind).to_numpy(), (data.obs["condition"] == "stim").to_numpy()
        controls, real = data[here & ~stimulated], data[here & stimulated]
        found = perturbation_baselines(
            data[~(here & stimulated)], controls, condition_key="condition", control="ctrl", groupby="cell_type_kang"
        )
        at_rest, changed = (np.asarray(x.X.mean(axis=0)).ravel() for x in (controls, real))
        for name, value in zip(("mean shift", "nearest context"), values, strict=True):
            assert pearson_delta(at_rest, changed, found[name].X.mean(axis=0)) == pytest.approx(value, abs=6e-4)
