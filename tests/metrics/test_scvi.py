"""Cells of a conditional scVI; what needs scvi-tools is skipped without it."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from sc_c2s import metrics
from sc_c2s.metrics.scvi import _draw, scvi_cells
from sc_c2s.metrics.sources import CONDITION

N_GENES = 40


@pytest.fixture(scope="module")
def train() -> AnnData:
    """Types with six genes of their own, in two states that share six more; cells of type C are three times as deep.

    130 cells: the last batch of 128 has two.
    """
    rng = np.random.default_rng(0)
    types, states = np.array(["A", "B", "C"])[np.arange(130) % 3], np.array(["off", "on"])[np.arange(130) // 3 % 2]
    rates = np.ones((130, N_GENES))
    rates[types == "A", :6] = rates[types == "B", 6:12] = 12
    rates[states == "on", 12:18] = 12
    depths = np.where(types == "C", 3, 1) * rng.lognormal(0, 0.2, size=130)
    obs = pd.DataFrame({"type": pd.Categorical(types), "state": states}, index=[f"c{i}" for i in range(130)])
    obs.loc["c0", "state"] = np.nan
    counts = sparse.csr_matrix(rng.poisson(rates * depths[:, None]), dtype=np.float32)
    return AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]))


@pytest.fixture(scope="module")
def scvi() -> ModuleType:
    return pytest.importorskip("scvi", reason="scvi-tools is not installed")


@pytest.fixture(scope="module")
def made(scvi: ModuleType, train: AnnData) -> AnnData:
    return scvi_cells(train, groupby=["type", "state"], n_cells={"A | on": 150, "C | off": 100}, max_epochs=300)


def test_missing_package(monkeypatch, train: AnnData) -> None:
    monkeypatch.setitem(sys.modules, "scvi", None)
    with pytest.raises(ImportError, match=r'`pip install "sc-c2s\[scvi\]"`'):
        metrics.scvi_cells(train, groupby="type", n_cells=3)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"groupby": "kind"}, KeyError, "no column 'kind'"),
        ({"n_cells": {"A": 2, "D": 2}}, ValueError, "condition 'D'; there are: A, B, C"),
        ({"n_cells": 0}, ValueError, "n_cells has to be 1 or more"),
        ({"layer": "counts"}, KeyError, "no layer 'counts'; the layers are: log"),
        ({"mask_var": "mine"}, KeyError, "var has no column 'mine'"),
        ({"layer": "log"}, ValueError, "raw counts, and these are none"),
    ],
)
def test_bad_input(monkeypatch, train: AnnData, changed: dict, error: type[Exception], message: str) -> None:
    monkeypatch.setattr("sc_c2s.metrics.scvi._scvi", lambda: None)
    train = train.copy()
    train.layers["log"] = train.X.log1p()
    with pytest.raises(error, match=message):
        scvi_cells(train, **{"groupby": "type", "n_cells": 3, **changed})
    train.X = sparse.csr_matrix(train.shape)
    with pytest.raises(ValueError, match="Only 0 cells have counts"):
        scvi_cells(train, groupby="type", n_cells=3)


def test_cells_of_the_conditions_asked_for(made: AnnData, train: AnnData) -> None:
    assert made.obs.value_counts(["type", "state"], sort=False).to_dict() == {("A", "on"): 150, ("C", "off"): 100}
    assert isinstance(made.obs["state"].dtype, pd.CategoricalDtype)
    assert list(made.var_names) == list(train.var_names)
    assert made.obs_names.is_unique
    np.testing.assert_allclose(made.X.expm1().sum(axis=1), 1e4, rtol=1e-4)


def test_conditions_show_in_the_cells(made: AnnData) -> None:
    levels = np.expm1(made.X.toarray())
    a_on, c_off = (levels[(made.obs["type"] == kind).to_numpy()].mean(axis=0) for kind in "AC")
    raised = np.r_[0:6, 12:18]
    others = np.setdiff1d(np.arange(N_GENES), raised)
    assert a_on[raised].mean() > 3 * a_on[others].mean()
    assert c_off[raised].mean() < 1.5 * c_off[others].mean()


def test_one_seed_gives_one_result_and_leaves_other_draws_alone(scvi: ModuleType, train: AnnData) -> None:
    import torch

    def states() -> tuple[float, float]:
        return float(np.random.get_state()[1].sum()), float(torch.get_rng_state().sum())

    before, kept = states(), train.copy()
    one, same, other = (scvi_cells(train, groupby="type", n_cells=4, max_epochs=2, rng=seed) for seed in (1, 1, 2))
    assert states() == before
    assert (one.X != same.X).nnz == 0
    assert (one.X != other.X).nnz > 0
    assert list(one.obs["type"]) == list("AAAABBBBCCCC")
    pd.testing.assert_frame_equal(train.obs, kept.obs)
    assert not train.uns


def test_genes_can_be_chosen(scvi: ModuleType, train: AnnData) -> None:
    made = scvi_cells(train, groupby="type", n_cells={"C": 50}, n_top_genes=20, max_epochs=2)
    assert made.n_vars == 20
    assert made.X.expm1().sum(axis=1).max() < 1e4, "the counts of the others stay where they were"
    train = train.copy()
    train.var["mine"] = np.arange(train.n_vars) % 2 == 0
    made = scvi_cells(train, groupby="type", n_cells={"C": 50}, mask_var="mine", max_epochs=2)
    assert list(made.var_names) == list(train.var_names[::2])
    assert made.X.expm1().sum(axis=1).max() < 1e4


class Decoder:
    """Stands in for a trained module: shares of 0.1, 0.3, 0.6 under the first condition, the reverse under the second."""

    n_latent = 4

    def __init__(self) -> None:
        self.z: list = []

    def generative(self, *, z: Any, library: Any, batch_index: Any) -> dict[str, Any]:
        import torch

        self.z.append(z)
        shares = torch.tensor([[0.1, 0.3, 0.6], [0.6, 0.3, 0.1]])[batch_index[:, 0]]
        return {"px": torch.distributions.Poisson(library.exp() * shares)}


def test_draws_take_the_prior_and_the_library_sizes_of_the_condition() -> None:
    """Cells of the first condition have 100 counts of 150 in the modelled genes, those of the second 1000 of 1600."""
    import torch

    counts = np.repeat([[20.0, 30, 50], [500, 300, 200]], [4, 6], axis=0)
    cells = AnnData(
        sparse.csr_matrix(counts), obs=pd.DataFrame({CONDITION: list("aaaabbbbbb")}, index=list("0123456789"))
    )
    manager = SimpleNamespace(get_state_registry=lambda _: SimpleNamespace(categorical_mapping=np.array(["a", "b"])))
    model = SimpleNamespace(adata_manager=manager, module=Decoder())
    totals = np.repeat([150.0, 1600], [4, 6])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = {name: _draw(model, cells, totals, name, 1100, np.random.default_rng(0)) for name in "ab"}
    for name, expected, rest in (("a", [10, 30, 60], 50), ("b", [600, 300, 100], 600)):
        x, depth = drawn[name]
        np.testing.assert_allclose(x.toarray().mean(axis=0), expected, rtol=0.05)
        np.testing.assert_allclose(depth, x.toarray().sum(axis=1) + rest)
    z = torch.cat(model.module.z)
    assert z.shape == (2200, 4)
    assert z.mean().abs() < 0.05
    assert z.std() == pytest.approx(1, abs=0.03)
