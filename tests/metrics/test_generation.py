"""A judge that can say no: made cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse

from sc_c2s.metrics.generation import MEAN, generation

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


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Generated cells that are drawn as the real ones are."""
    return generation(draw(60, seed=0), draw(60, seed=1), groupby=["type", "state"], reference=draw(120, seed=2))


def test_rows(table) -> None:
    conditions = ["A | off", "A | on", "B | off", "B | on", MEAN]
    sources = ["generated", "real", "shuffled conditions", "independent genes"]
    assert list(table.index) == [(source, condition) for source in sources for condition in conditions]
    assert (table.loc["generated", "n"] == [60, 60, 60, 60, 240]).all()
    assert (table["n_genes"] == N_GENES).all()
    assert (table["embedding"] == f"pca ({N_GENES - 1})").all()
    assert table["bandwidth"].nunique() == 1
    # No gene may be rare in a condition.
    assert table.drop(columns="rare_genes").notna().all().all()


def test_a_mean_is_that_of_the_conditions(table) -> None:
    mean = table.loc["generated"].drop(MEAN)["scfid"].mean()
    assert table.loc[("generated", MEAN), "scfid"] == pytest.approx(mean)


def test_cells_drawn_like_real_ones_score_like_real_ones(table) -> None:
    generated, real = table.loc[("generated", MEAN)], table.loc[("real", MEAN)]
    for name in [*LOWER_IS_BETTER, "knn_5", "lfc_pearson", "lfc_slope", "diversity", "mean_correlation"]:
        assert generated[name] == pytest.approx(real[name], rel=0.25, abs=0.02), name
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


def test_the_real_cells_themselves() -> None:
    """Nothing lies between a set of cells and itself, in whatever order."""
    real = draw(15, seed=0)
    found = generation(real, real[::-1].copy(), groupby=["type", "state"], reference=draw(30, seed=1))
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


@pytest.mark.parametrize("n_genes", [30, 600])
def test_cells_drawn_like_real_ones_are_no_farther_off_where_most_components_are_noise(n_genes: int) -> None:
    """Components of the compared cells would fit these, and lie to the disadvantage of every generator."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(0.5, 1, size=(2, n_genes))

    def noise(n: int, name: str) -> AnnData:
        labels = np.repeat([0, 1], n)
        obs = pd.DataFrame({"type": np.array(["A", "B"])[labels]}, index=[f"{name}{i}" for i in range(2 * n)])
        var = pd.DataFrame(index=[f"g{i}" for i in range(n_genes)])
        return AnnData(sparse.csr_matrix(np.log1p(rng.poisson(rates[labels]) / 3)), obs=obs, var=var)

    found = generation(noise(40, "a"), noise(40, "b"), groupby="type", reference=noise(80, "c"), n_comps=20)
    generated, real = found.loc[("generated", MEAN)], found.loc[("real", MEAN)]
    assert generated["scfid"] == pytest.approx(real["scfid"], rel=0.15)
    assert generated["energy"] == pytest.approx(real["energy"], rel=0.25)
    assert abs(generated["auc"] - 0.5) < 0.15


def test_a_third_of_the_real_cells_stands_in_for_a_reference() -> None:
    found = generation(draw(21, seed=0), draw(30, seed=1), groupby="type")
    assert (found.drop(MEAN, level="condition")["n"] == 14).all(), "a third of 42 real cells of each type"


def test_nothing_depends_on_the_order_of_genes_and_conditions_are_those_of_both() -> None:
    real, generated, reference = (draw(15, seed=i) for i in range(3))
    backwards = generated[:, ::-1].copy()
    one, other = (generation(real, cells, groupby="type", reference=reference) for cells in (generated, backwards))
    pd.testing.assert_frame_equal(one, other)
    real.obs["type"] = real.obs["type"].replace("B", "C")
    with pytest.raises(ValueError, match="Only 1 conditions have 3 real cells or more in every set"):
        generation(real, generated, groupby="type", reference=reference)


def test_other_generators_are_scored_in_the_same_table(table) -> None:
    flat = draw(60, seed=3)
    flat.X = sparse.csr_matrix(np.tile(flat.X.mean(axis=0), (flat.n_obs, 1)))
    sets = [draw(60, seed=0), draw(60, seed=1)]
    others = {"again": draw(70, seed=1), "flat": flat}
    found = generation(*sets, groupby=["type", "state"], reference=draw(120, seed=2), others=others)
    assert list(found.index.get_level_values("source").unique()[-2:]) == ["again", "flat"]
    before = list(table.index.get_level_values("source").unique())
    pd.testing.assert_frame_equal(found.loc[before], table)
    assert found.loc[("again", MEAN), "lfc_pearson"] > 0.9
    assert found.loc[("flat", MEAN), "knn_5"] == 0.25, "all cells are in one place"
    assert found.loc[("flat", MEAN), "scfid"] > 2 * found.loc[("generated", MEAN), "scfid"]
    with pytest.raises(ValueError, match="has a source 'real' of its own"):
        generation(*sets, groupby="type", others={"real": flat})


def test_a_generator_that_lacks_a_condition_is_found_out() -> None:
    real, reference = draw(10, seed=0), draw(10, seed=1)
    lacking = draw(10, seed=2)[:-9].copy()
    with pytest.raises(ValueError, match=r"The set 'generated' has 1 cells of the condition 'B \| on' and needs 3"):
        generation(real, lacking, groupby=["type", "state"], reference=reference)
    with pytest.raises(ValueError, match=r"The set 'poor' has 1 cells of the condition 'B \| on'"):
        generation(real, reference, groupby=["type", "state"], reference=reference, others={"poor": lacking})


def test_conditions_without_real_cells_are_left_out_with_a_warning(monkeypatch) -> None:
    real, generated, reference = (draw(10, seed=i) for i in range(3))
    real.obs.loc[real.obs_names[:2], "type"] = "rare"
    generated.obs.loc[generated.obs_names[:5], "type"] = "new"
    said: list[str] = []
    monkeypatch.setattr(sc.logging, "warning", said.append)
    found = generation(real, generated, groupby="type", reference=reference)
    assert list(found.loc["generated"].index) == ["A", "B", MEAN]
    assert said == [
        "not compared, as fewer than 3 real cells have the condition in one of the sets (real, reference): new, rare"
    ]


def test_cells_without_a_condition_are_left_out() -> None:
    real, generated, reference = (draw(10, seed=i) for i in range(3))
    known = generation(real[2:].copy(), generated, groupby="type", reference=reference)
    real.obs["type"] = real.obs["type"].where(np.arange(real.n_obs) >= 2)
    pd.testing.assert_frame_equal(generation(real, generated, groupby="type", reference=reference), known)


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
    with pytest.raises(TypeError, match="write your array to obsm"):
        generation(real, generated, groupby="type", reference=reference, embedding=real.obsm["X_two"])
    with pytest.raises(ValueError, match=r"shape \(1, 30\) for 30 cells: return a row a cell"):
        generation(real, generated, groupby="type", reference=reference, embedding=lambda x: x.X.mean(axis=0))
    generated.obsm["X_two"] = np.where(generated.obs[["type"]] == "A", np.nan, 1.0)
    with pytest.raises(ValueError, match="embedding of the set 'generated' holds NaN"):
        generation(real, generated, groupby="type", reference=reference, embedding="X_two")


def test_clear_errors() -> None:
    real, generated = draw(10, seed=0), draw(10, seed=1)
    with pytest.raises(KeyError, match="no column 'cell_type'"):
        generation(real, generated, groupby="cell_type")
    counts = draw(10, seed=1)
    counts.X = counts.X.expm1().rint()
    with pytest.raises(ValueError, match="X holds counts in the set 'generated'; the comparison needs log1p"):
        generation(real, counts, groupby="type")
    counts.X = generated.X.toarray() - 1
    with pytest.raises(ValueError, match="X holds negative values in the set 'scaled'"):
        generation(real, generated, groupby="type", others={"scaled": counts})
    counts.X[3, 4] = np.nan
    with pytest.raises(ValueError, match="X holds NaN or infinite values in the set 'generated'"):
        generation(real, counts, groupby="type")
    counts.var_names = ["g0"] * N_GENES
    with pytest.raises(ValueError, match="Gene names occur twice in the set 'generated'"):
        generation(real, counts, groupby="type")
    generated.var_names = [f"other{i}" for i in range(N_GENES)]
    with pytest.raises(ValueError, match="no gene in common"):
        generation(real, generated, groupby="type")


def test_the_order_in_which_values_are_stored_does_not_matter(table) -> None:
    """A product of sparse matrices, for one, leaves columns out of order."""
    made, one = draw(60, seed=1), sparse.identity(240, format="csr", dtype=np.float32)
    made.X = one @ made.X.astype(np.float32).tocsr()
    assert not made.X.has_sorted_indices
    same = draw(60, seed=1)
    same.X = same.X.astype(np.float32)
    again, expected = (
        generation(draw(60, seed=0), cells, groupby=["type", "state"], reference=draw(120, seed=2))
        for cells in (made, same)
    )
    pd.testing.assert_frame_equal(again, expected)
