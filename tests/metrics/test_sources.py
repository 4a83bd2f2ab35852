"""Sets of cells to compare."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from sc_c2s.metrics.sources import CONDITION, bare, draw, independent, parts, shuffled


@pytest.fixture
def cells() -> AnnData:
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"type": np.repeat(["B", "A"], [17, 20])}, index=[f"c{i}" for i in range(37)])
    x = sparse.csr_matrix(rng.poisson(2, size=(37, 12)) + 0.5)
    return bare(AnnData(x, obs=obs, obsm={"X_pca": rng.normal(size=(37, 2))}), "type", "real")


def test_parts_hold_every_cell_once_and_as_many_of_each_condition(cells) -> None:
    found = parts(cells, 3, np.random.default_rng(0))
    assert sorted(name for part in found for name in part.obs_names) == sorted(cells.obs_names)
    counts = [part.obs[CONDITION].value_counts().to_dict() for part in found]
    assert counts == [{"A": 7, "B": 6}, {"A": 7, "B": 6}, {"A": 6, "B": 5}]


def test_cells_are_drawn_condition_by_condition(cells) -> None:
    found = draw(cells, pd.Series({"A": 3, "B": 5}), np.random.default_rng(0))
    assert list(found.obs[CONDITION]) == list("AAABBBBB")
    assert found.obs_names.is_unique


def test_shuffled_cells_are_the_same_under_other_conditions(cells) -> None:
    found = shuffled(cells, np.random.default_rng(0))
    assert list(found.obs[CONDITION]) == list(cells.obs[CONDITION])
    np.testing.assert_array_equal(found.X.toarray(), cells[found.obs_names].X.toarray())
    np.testing.assert_array_equal(found.obsm["X_pca"], cells[found.obs_names].obsm["X_pca"])
    kept = (cells.obs.loc[found.obs_names, CONDITION].to_numpy() == cells.obs[CONDITION].to_numpy()).mean()
    assert 0.2 < kept < 0.8


def test_each_gene_of_independent_cells_keeps_its_values(cells) -> None:
    mixed = independent(cells, np.random.default_rng(0))
    for condition in "AB":
        here = (cells.obs[CONDITION] == condition).to_numpy()
        before, after = cells.X[here].toarray(), mixed.X[here].toarray()
        np.testing.assert_allclose(np.sort(after, axis=0), np.sort(before, axis=0))
        assert (before != after).mean() > 0.3
