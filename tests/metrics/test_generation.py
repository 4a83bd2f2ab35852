"""A judge that can say no: made cases whose answer is known."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from sc_c2s.metrics.generation import MEAN, _diversity, _independent, _rare_genes, _with_conditions, generation

N_GENES = 30
LOWER_IS_BETTER = ["scfid", "mmd", "energy", "sliced_wasserstein", "gene_wasserstein"]


def draw(n: int, *, seed: int, together: bool = True) -> AnnData:
    """Cells of two types in two states, ``n`` of each, whose genes rise and fall together in blocks of five."""
    rng = np.random.default_rng(seed)
    types, states = np.repeat(["A", "B"], 2 * n), np.tile(np.repeat(["off", "on"], n), 2)
    rates = np.full((4 * n, N_GENES), 2.0)
    rates[types == "A", :5] = 8
    rates[types == "B", 5:10] = 8
    rates[states == "on", 10:13] = 6
    rates[:, 29] = 0.02
    blocks = rng.gamma(3, 1 / 3, size=(4 * n, 6)) if together else rng.gamma(3, 1 / 3, size=(4 * n, N_GENES))
    counts = rng.poisson(rates * (np.repeat(blocks, 5, axis=1) if together else blocks))
    obs = pd.DataFrame({"type": types, "state": states}, index=[f"c{seed}_{i}" for i in range(4 * n)])
    return AnnData(
        sparse.csr_matrix(np.log1p(counts)), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    )


@pytest.fixture(scope="module", autouse=True)
def few_trees() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["sc_c2s.metrics.generation"], "N_TREES", 30)
        yield


@pytest.fixture(scope="module")
def table(few_trees) -> pd.DataFrame:
    """Generated cells that are drawn as the real ones are."""
    return generation(draw(60, seed=0), draw(60, seed=1), groupby=["type", "state"], reference=draw(60, seed=2))


def test_rows(table) -> None:
    conditions = ["A | off", "A | on", "B | off", "B | on", MEAN]
    sources = ["generated", "real", "shuffled conditions", "independent genes"]
    assert list(table.index) == [(source, condition) for source in sources for condition in conditions]
    assert (table.loc["generated", "n"] == [60, 60, 60, 60, 240]).all()
    assert (table["n_genes"] == N_GENES).all()
    assert (table["embedding"] == f"pca ({N_GENES})").all()
    assert table["bandwidth"].nunique() == 1
    # No gene may be rare in a condition.
    assert table.drop(columns="rare_genes").notna().all().all()


def test_a_mean_is_that_of_the_conditions(table) -> None:
    mean = table.loc["generated"].drop(MEAN)["scfid"].mean()
    assert table.loc[("generated", MEAN), "scfid"] == pytest.approx(mean)


def test_cells_drawn_like_real_ones_score_like_real_ones(table) -> None:
    generated, real = table.loc[("generated", MEAN)], table.loc[("real", MEAN)]
    for name in [*LOWER_IS_BETTER, "knn_5", "lfc_pearson", "lfc_slope", "diversity", "mean_correlation"]:
        assert generated[name] == pytest.approx(real[name], rel=0.15, abs=0.02), name
    assert abs(generated["auc"] - 0.5) < 0.1
    assert generated["lfc_pearson"] > 0.9
    assert generated["de_overlap"] > 0.5


def test_shuffled_conditions_are_found_out(table) -> None:
    shuffled, generated = table.loc[("shuffled conditions", MEAN)], table.loc[("generated", MEAN)]
    assert shuffled["knn_5"] == pytest.approx(0.25, abs=0.1), "chance among four conditions"
    assert abs(shuffled["lfc_pearson"]) < 0.6, "by chance, in four conditions"
    assert abs(shuffled["lfc_slope"]) < 0.2
    for name in LOWER_IS_BETTER:
        assert shuffled[name] > generated[name], name


def test_independent_genes_keep_means_and_lose_what_belongs_together(table) -> None:
    independent, real = table.loc[("independent genes", MEAN)], table.loc[("real", MEAN)]
    assert independent["mean_correlation"] == pytest.approx(real["mean_correlation"], abs=0.02)
    assert independent["gene_wasserstein"] == pytest.approx(real["gene_wasserstein"], rel=0.1)
    assert independent["scfid"] > 1.2 * real["scfid"]
    assert independent["energy"] > real["energy"]
    assert independent["auc"] > 0.6 > real["auc"]


def test_each_gene_of_independent_cells_keeps_its_values() -> None:
    cells = _with_conditions(draw(20, seed=0), "type")
    mixed = _independent(cells, np.random.default_rng(0))
    for condition in "AB":
        here = (cells.obs["_condition"] == condition).to_numpy()
        before, after = cells.X[here].toarray(), mixed.X[here].toarray()
        np.testing.assert_allclose(np.sort(after, axis=0), np.sort(before, axis=0))
        assert (before != after).mean() > 0.3


def test_the_real_cells_themselves() -> None:
    """Nothing lies between a set of cells and itself, in whatever order."""
    real = draw(15, seed=0)
    found = generation(real, real[::-1].copy(), groupby=["type", "state"], reference=draw(15, seed=1))
    same = found.loc["generated"].drop(MEAN)
    np.testing.assert_allclose(same[LOWER_IS_BETTER], 0, atol=1e-6)
    exact = [
        "mean_correlation",
        "variance_correlation",
        "dropout_correlation",
        "lfc_pearson",
        "lfc_slope",
        "de_overlap",
    ]
    np.testing.assert_allclose(same[exact], 1)
    assert (found.loc["real"].drop(MEAN)[LOWER_IS_BETTER] > 1e-3).all().all()


def test_diversity_of_equal_and_of_opposite_ranks() -> None:
    ranks = np.arange(1.0, 6)
    assert _diversity(np.array([ranks, 3 * ranks]), seed=0) == pytest.approx(0)
    assert _diversity(np.array([ranks, ranks[::-1]]), seed=0) == pytest.approx(2)


def test_cells_that_are_all_alike_lack_diversity() -> None:
    real = draw(30, seed=0)
    centres = real.copy()
    x = real.X.toarray()
    for _, rows in real.obs.groupby(["type", "state"]).indices.items():
        x[rows] = x[rows].mean(axis=0) + 1e-3 * np.arange(N_GENES)
    centres.X = sparse.csr_matrix(x)
    found = generation(real, centres, groupby=["type", "state"], reference=draw(30, seed=1))
    assert found.loc[("generated", MEAN), "diversity"] < 0.05
    assert found.loc[("generated", MEAN), "auc"] > 0.9 > 0.6 > found.loc[("real", MEAN), "auc"]


def test_rare_genes_that_never_occur() -> None:
    real = np.zeros((40, 3))
    real[0, 0] = real[1, 1] = 1
    real[:, 2] = 1
    assert _rare_genes(real, real) == 1
    other = real.copy()
    other[:, 1] = 0
    assert _rare_genes(real, other) == 0.5


def test_half_of_the_real_cells_stand_in_for_a_reference() -> None:
    found = generation(draw(20, seed=0), draw(30, seed=1), groupby="type")
    assert (found.drop(MEAN, level="condition")["n"] == 20).all(), "half of 40 real cells of each type"


def test_nothing_depends_on_the_order_of_genes_and_conditions_are_those_of_both() -> None:
    real, generated, reference = (draw(15, seed=i) for i in range(3))
    backwards = generated[:, ::-1].copy()
    one, other = (generation(real, cells, groupby="type", reference=reference) for cells in (generated, backwards))
    pd.testing.assert_frame_equal(one, other)
    real.obs["type"] = real.obs["type"].replace("B", "C")
    with pytest.raises(ValueError, match="Only 1 conditions have 3 cells or more in all sets"):
        generation(real, generated, groupby="type", reference=reference)


def test_other_spaces() -> None:
    cells = [draw(15, seed=i) for i in range(3)]
    for adata in cells:
        adata.obsm["X_two"] = adata.X[:, [0, 5]].toarray()

    def two(adata: AnnData) -> np.ndarray:
        return adata.X[:, [0, 5]].toarray()

    real, generated, reference = cells
    stored = generation(real, generated, groupby="type", reference=reference, embedding="X_two")
    computed = generation(real, generated, groupby="type", reference=reference, embedding=two)
    assert (stored["embedding"] == "X_two (2)").all()
    assert (computed["embedding"] == "two (2)").all()
    assert "independent genes" not in stored.index.get_level_values(0)
    np.testing.assert_allclose(stored.loc["real", "scfid"], computed.loc["real", "scfid"])
    del generated.obsm["X_two"]
    with pytest.raises(KeyError, match="obsm has no 'X_two' in one of the objects"):
        generation(real, generated, groupby="type", reference=reference, embedding="X_two")


def test_clear_errors() -> None:
    real, generated = draw(10, seed=0), draw(10, seed=1)
    with pytest.raises(KeyError, match="no column 'cell_type'"):
        generation(real, generated, groupby="cell_type")
    counts = draw(10, seed=1)
    counts.X = counts.X.expm1().rint()
    with pytest.raises(ValueError, match="X holds counts; the comparison needs log1p"):
        generation(real, counts, groupby="type")
    generated.var_names = [f"other{i}" for i in range(N_GENES)]
    with pytest.raises(ValueError, match="no gene in common"):
        generation(real, generated, groupby="type")
