"""Predicted perturbations: every measure on cases whose answer is known."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse

from sc_c2s.metrics.effects import (
    direction_match,
    discrimination_score,
    kendall_delta,
    moments,
    pearson_delta,
    r2_delta,
    strongest,
    t_scores,
    top_share,
)
from sc_c2s.metrics.generation import MEAN
from sc_c2s.metrics.perturbation import perturbation
from sc_c2s.metrics.perturbation_measures import Comparison, effect_measures
from sc_c2s.metrics.perturbation_sets import Pair, labelled
from sc_c2s.metrics.programs import program_scores, read_gmt

N_GENES = 40
BY = {"condition_key": "drug", "control": "none", "groupby": "type"}
TYPES, DRUGS = ("A", "B", "C"), ("one", "two")
DISTANCES = ["mmd", "energy", "sliced_wasserstein", "scfid", "gene_wasserstein"]


def draw(n: int, *, seed: int, drugs: tuple[str, ...] = ("none", *DRUGS)) -> AnnData:
    """``n`` cells of each type under each drug; drugs move other genes, and more of them in type B."""
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame([(t, d) for t in TYPES for d in drugs for _ in range(n)], columns=["type", "drug"])
    rates = np.linspace(0.5, 3, N_GENES) * np.ones((len(obs), 1))
    kind, drug = obs["type"].to_numpy(), obs["drug"].to_numpy()
    for i, name in enumerate(TYPES):
        rates[kind == name, 5 * i : 5 * i + 5] += 4
    for i, name in enumerate(DRUGS):
        rates[drug == name, 20 + 5 * i : 25 + 5 * i] += 4
        rates[(drug == name) & (kind == "B"), 30 + 5 * i : 35 + 5 * i] += 4
    return AnnData(
        sparse.csr_matrix(np.log1p(rng.poisson(rates))),
        obs=obs.set_index(obs.index.map(lambda i: f"c{seed}_{i}")),
        var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]),
    )


def perturbed(adata: AnnData) -> AnnData:
    return adata[adata.obs["drug"] != "none"].copy()


def mean(adata: AnnData, kind: str, drug: str) -> np.ndarray:
    return adata[(adata.obs["type"] == kind) & (adata.obs["drug"] == drug)].X.toarray().mean(axis=0)


@pytest.fixture(scope="module")
def real() -> AnnData:
    return draw(20, seed=0)


@pytest.fixture(scope="module")
def table(real) -> pd.DataFrame:
    """The predictions are the very cells; another predictor draws new ones."""
    sets = {"new cells": draw(20, seed=1, drugs=DRUGS)}
    return perturbation(real, perturbed(real), others=sets, gene_sets={"up": ["g20", "g21", "x"], "no": ["x"]}, **BY)


# Pure functions


def test_pearson_delta_by_hand() -> None:
    control = np.array([1.0, 2.0, 3.0])
    # Changes (1, 0, 0) and (1, 1, 0): centred (2, -1, -1)/3 and (1, 1, -2)/3, product 3/9, squares 6/9.
    assert pearson_delta(control, control + [1, 0, 0], control + [1, 1, 0]) == pytest.approx(0.5)
    assert pearson_delta(control, control + [1, 2, 4], control + [2, 4, 8]) == pytest.approx(1)
    assert pearson_delta(control, control + [1, 2, 4], control - [1, 2, 4]) == pytest.approx(-1)
    assert pearson_delta(control, control + [1, 2, 4], control) == 0, "a prediction of no change says nothing"
    assert np.isnan(pearson_delta(control, control, control + [1, 2, 4])), "there is nothing to predict"
    with pytest.raises(ValueError, match="a value for each of the same genes"):
        pearson_delta(control, control, control[:2])


def test_r2_delta_by_hand() -> None:
    control = np.array([1.0, 2.0, 3.0])
    real = control + [2, 0, -1]
    # Errors (1, 0, 1) against changes (2, 0, 1): 1 - 2/5.
    assert r2_delta(control, real, control + [1, 0, -2]) == pytest.approx(0.6)
    assert r2_delta(control, real, real) == 1
    assert r2_delta(control, real, control) == 0
    assert r2_delta(control, real, control + [4, 0, -2]) == pytest.approx(0), "twice the change is as far off as none"
    assert r2_delta(control, real, control + [6, 0, -3]) == pytest.approx(-3)
    assert np.isnan(r2_delta(control, control, real)), "there is nothing to predict"
    with pytest.raises(ValueError, match="a value for each of the same genes"):
        r2_delta(control, control, control[:2])


def test_kendall_delta_by_hand() -> None:
    control = np.array([5.0, 1.0, 2.0, 7.0])
    real = control + [1, 2, 3, 4]
    # Five of six pairs in the right order.
    assert kendall_delta(control, real, control + [2, 1, 3, 4]) == pytest.approx(4 / 6)
    assert kendall_delta(control, real, control + [0.1, 0.2, 0.3, 90]) == pytest.approx(1), "the size does not count"
    assert kendall_delta(control, real, control - [1, 2, 3, 4]) == pytest.approx(-1)
    # Tied in the prediction: five pairs in order and one tied, over the root of 6 * 5.
    assert kendall_delta(control, real, control + [1, 1, 3, 4]) == pytest.approx(5 / np.sqrt(30))
    assert kendall_delta(control, real, control) == 0, "a prediction of no change says nothing"
    assert np.isnan(kendall_delta(control, control + 1, real))
    with pytest.raises(ValueError, match="a value for each of the same genes"):
        kendall_delta(control, control, control[:2])


def test_direction_match_by_hand() -> None:
    real, predicted = [1, -1, 2, -2, 0.5], [3, 1, 0, -1, 0.1]
    assert direction_match(real, predicted) == pytest.approx(3 / 5)
    assert direction_match(real, predicted, [True, True, False, False, False]) == 0.5
    assert np.isnan(direction_match(real, predicted, [False] * 5))
    with pytest.raises(ValueError, match="changes of"):
        direction_match(real, predicted[:3])


def test_discrimination_score_by_hand() -> None:
    real = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 8.0], [9.0, 9.0]])
    np.testing.assert_array_equal(discrimination_score(real, real), 1)
    # From (3, 0): 3, 1, 11 and 15 with l1, so the right one has rank 1, 0, 2 and 3.
    predicted = np.tile([3.0, 0.0], (4, 1))
    np.testing.assert_allclose(discrimination_score(predicted, real), [0.75, 1, 0.5, 0.25])
    # From (5, 5): l1 10, 6, 8, 8, where two are equally far, and l2 √50, √26, √34, √32.
    predicted = np.tile([5.0, 5.0], (4, 1))
    np.testing.assert_allclose(discrimination_score(predicted, real), [0.25, 1, 0.625, 0.625])
    np.testing.assert_allclose(discrimination_score(predicted, real, metric="l2"), [0.25, 1, 0.5, 0.75])
    # Of directions only (9, 9) is that of (5, 5); the effect of zero has none and is farthest.
    np.testing.assert_allclose(discrimination_score(predicted, real, metric="cosine"), [0.25, 0.625, 0.625, 1])


def test_discrimination_score_without_targets_and_where_there_is_none() -> None:
    real = np.array([[5.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    predicted = np.array([[5.0, 0.0, 2.0], [0.0, 0.0, 2.0]])
    exclude = np.array([[True, False, False], [False, False, False]])
    np.testing.assert_array_equal(discrimination_score(predicted, real), [1, 1])
    np.testing.assert_array_equal(discrimination_score(predicted, real, exclude=exclude), [0.5, 1])
    assert np.isnan(discrimination_score(predicted[:1], real[:1])).all()
    predicted[0, 0] = np.nan
    np.testing.assert_array_equal(discrimination_score(predicted, real), [np.nan, 1])
    with pytest.raises(ValueError, match="metric='l3' is none of l1, l2, cosine"):
        discrimination_score(real, real, metric="l3")
    with pytest.raises(ValueError, match="a row for each perturbation"):
        discrimination_score(real[:1], real)
    with pytest.raises(ValueError, match="exclude has the shape"):
        discrimination_score(real, real, exclude=exclude[:1])


def test_t_scores_are_those_of_scanpy(real) -> None:
    part = real[(real.obs["type"] == "A") & real.obs["drug"].isin(["none", "one"])].copy()
    part.obs["drug"] = part.obs["drug"].astype("category")
    part.uns["log1p"] = {"base": None}
    sc.tl.rank_genes_groups(part, "drug", groups=["one"], reference="none", method="t-test")
    expected = sc.get.rank_genes_groups_df(part, "one").set_index("names").loc[part.var_names]
    sets = [moments(part[part.obs["drug"] == drug].X) for drug in ("one", "none")]
    scores, adjusted = t_scores(*sets)
    np.testing.assert_allclose(scores, expected["scores"], rtol=1e-4)  # scanpy stores float32
    np.testing.assert_allclose(adjusted, expected["pvals_adj"], rtol=1e-4)


def test_t_scores_where_no_cell_varies_are_finite_and_grow_with_the_change() -> None:
    control = moments(np.tile([1.0, 1.0, 1.0], (5, 1)))
    scores, adjusted = t_scores(moments(np.tile([1.0, 1.5, 3.0], (5, 1))), control)
    assert scores[0] == 0
    assert adjusted[0] == 1
    assert 0 < scores[1] < scores[2] < np.inf


def test_moments_by_hand() -> None:
    x = np.array([[0.0, 1.0], [0.0, 3.0], [3.0, 2.0]])
    for values in (x, sparse.csr_matrix(x)):
        found = moments(values)
        np.testing.assert_allclose(found.mean, [1, 2])
        np.testing.assert_allclose(found.variance, [3, 1])
        np.testing.assert_allclose(found.share, [1 / 3, 1])
        assert found.n == 3
    with pytest.raises(ValueError, match="two cells or more, not 1"):
        moments(x[:1])


def test_top_genes_by_hand() -> None:
    np.testing.assert_array_equal(strongest([1, -5, 0, 3], 2), [1, 3])
    np.testing.assert_array_equal(strongest([1, -5, 0, 3], 9), [1, 3, 0])
    assert top_share([1, -5, 0, 3], [0, 9, 8, 1], 2) == 0.5
    assert top_share([1, -5, 0, 3], [0, 0, 0, 0], 2) == 0
    assert np.isnan(top_share([0, 0], [1, 2], 2))


def test_effect_measures_by_hand() -> None:
    """Three genes that change by +2, -1 and 0, and a prediction of +1, +1 and 0."""
    spread = np.array([[-0.1], [0.0], [0.1]])
    control, real, predicted = (moments(np.array([m]) + spread) for m in ([1.0, 3, 2], [3.0, 2, 2], [2.0, 4, 2]))
    found = effect_measures(control, real, predicted, n_top=(1, 2, 50))
    assert found["mae"] == pytest.approx((1 + 2 + 0) / 3)
    # Centred (5, -4, -1)/3 and (1, 1, -2)/3: 3/9 over the root of 42/9 · 6/9.
    assert found["pearson_delta"] == pytest.approx(3 / np.sqrt(42 * 6))
    assert np.isnan(found["pearson_delta_top1"]), "one gene has no correlation"
    assert found["pearson_delta_top2"] == 0, "both are predicted to change by the same"
    # The gene that does not change has no score and is in no list.
    assert found["pearson_delta_top50"] == found["pearson_delta_top2"]
    assert found["de_overlap"] == 1
    assert found["de_direction"] == 0.5
    # Means 3, 2, 2 and 2, 4, 2: one pair is discordant, the others are tied in one of them.
    assert found["kendall"] == pytest.approx(-1 / 2)


def test_genes_that_real_cells_lack_do_not_crowd_out_others() -> None:
    """A constant shift of genes that no cell shows has no variance, and so the largest scores."""
    rng = np.random.default_rng(0)
    control, real = rng.gamma(4, 0.3, size=(2, 30, 120))
    real[:, :60] += np.linspace(3, 0.5, 60)
    control[:, 60:], real[:, 60:] = 0, 0
    shifted = control.copy()
    shifted[:, 60:] += 0.01
    shifted[:, :60] += np.linspace(3, 0.5, 60)
    found = effect_measures(*map(moments, (control, real, shifted)), n_top=())
    assert found["de_overlap"] > 0.8


def test_genes_that_only_perturbed_cells_show_count() -> None:
    """One gene that control cells lack and one that rises; the prediction moves the first only."""
    spread = np.array([-0.1, 0, 0.1])
    control, real, predicted = (
        moments(np.column_stack([first, second + spread]))
        for first, second in ((np.zeros(3), 1), (1 + spread, 2), (1 + spread, 1))
    )
    assert effect_measures(control, real, predicted, n_top=())["de_overlap"] == 0.5


def test_program_scores_by_hand() -> None:
    x = np.array([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 4.0, 0.0]])
    sets = {"first": ["a", "b", "unknown"], "last": ["d"], "none": ["unknown"]}
    for values in (x, sparse.csr_matrix(x)):
        found = program_scores(values, ["a", "b", "c", "d"], sets)
        np.testing.assert_allclose(found["first"], [1.5 - 3, 0 - 1])
        np.testing.assert_allclose(found["last"], [6 - 3, 0 - 1])
        assert found["none"].isna().all()
    assert program_scores(x, list("abcd"), {}).shape == (2, 0)
    with pytest.raises(ValueError, match="4 columns and 2 gene names"):
        program_scores(x, ["a", "b"], sets)


def test_read_gmt(tmp_path) -> None:
    path = tmp_path / "sets.gmt"
    path.write_text("interferon\thttp://x\tISG15\tIFI6 \t\nempty line follows\t\tMX1\n\n", encoding="utf-8")
    assert read_gmt(path) == {"interferon": ["ISG15", "IFI6"], "empty line follows": ["MX1"]}
    for text, message in {
        "a\tb\tc\nd e f\n": "Line 2 of .* is no gene set: write name, description and genes, parted by tabs",
        "a\tonly a description\n": "Line 1 of .* is no gene set",
        "a\t\tc\na\t\td\n": "Line 2 of .* has the name 'a', which another line has, too",
        "\n": "holds no gene set",
    }.items():
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            read_gmt(path)


# The table


def test_rows_and_columns(table) -> None:
    pairs = [(t, d) for t in TYPES for d in DRUGS]
    sources = ["predicted", "new cells", "no change", "shuffled contexts", "real"]
    assert list(table.index) == [(source, *pair) for source in sources for pair in [*pairs, (MEAN, MEAN)]]
    tops = ["pearson_delta_top20", "pearson_delta_top50", "pearson_delta_top100"]
    first = ["pearson_delta", *tops, "mae", "de_overlap", "de_direction", "discrimination"]
    last = ["kendall", "program_up", "program_no", "n", "n_genes", "embedding", "bandwidth"]
    assert list(table) == [*first, *DISTANCES, *last]
    assert table.drop(columns="program_no").notna().all().all()
    assert table["program_no"].isna().all()
    assert (table.drop(MEAN, level="context")["n"] == 10).all(), "half of 20 cells in every source"
    assert (table["embedding"] == f"pca ({N_GENES - 1})").all()


def test_a_perfect_prediction(table) -> None:
    found = table.loc["predicted"]
    for name in ("pearson_delta", "pearson_delta_top20", "de_overlap", "de_direction", "discrimination", "kendall"):
        np.testing.assert_allclose(found[name], 1, err_msg=name)
    np.testing.assert_allclose(found[["mae", "program_up"]], 0, atol=1e-12)


def test_no_change_says_nothing(table, real) -> None:
    found = table.loc["no change"]
    np.testing.assert_array_equal(found[["pearson_delta", "de_overlap", "de_direction"]], 0)
    for kind in TYPES:
        for drug in DRUGS:
            change = mean(real, kind, drug) - mean(real, kind, "none")
            assert found.loc[(kind, drug), "mae"] == pytest.approx(np.abs(change).mean())
            error = change.mean() - change[20:22].mean()
            assert found.loc[(kind, drug), "program_up"] == pytest.approx(error)


def test_new_cells_do_about_as_well_as_real_ones_and_no_change_worse(table) -> None:
    new, ceiling, nothing = (table.loc[(name, MEAN, MEAN)] for name in ("new cells", "real", "no change"))
    assert new["pearson_delta"] > ceiling["pearson_delta"] > 0.8
    for name in DISTANCES:
        assert new[name] == pytest.approx(ceiling[name], rel=0.25), name
        assert nothing[name] > 1.2 * ceiling[name], name
    assert ceiling["discrimination"] == 1


def test_half_of_the_real_cells_predicts_the_other_half(real) -> None:
    found = perturbation(real, perturbed(real), **BY).loc["real"]
    pairs = [Pair(t, d) for t in TYPES for d in DRUGS]
    cells = labelled(real, "drug", "type", "real")
    comparison = Comparison(cells, pairs, "none", seed=0)
    for pair in pairs:
        halves = comparison.first_half[pair], comparison.second_half[pair]
        here = np.flatnonzero((real.obs["type"] == pair.context) & (real.obs["drug"] == pair.perturbation))
        assert [len(half) for half in halves] == [10, 10]
        np.testing.assert_array_equal(np.sort(np.concatenate(halves)), here)
        first, second = (cells.X[half].toarray().mean(axis=0) for half in halves)
        assert found.loc[pair, "mae"] == pytest.approx(np.abs(first - second).mean())
        at_rest = mean(real, pair.context, "none")
        assert found.loc[pair, "pearson_delta"] == pytest.approx(np.corrcoef(first - at_rest, second - at_rest)[0, 1])


def test_few_real_cells_have_no_ceiling() -> None:
    real = draw(5, seed=0)
    found = perturbation(real, perturbed(real), **BY)
    assert found.loc["real"].drop(columns=["n", "n_genes", "embedding", "bandwidth"]).isna().all().all()
    assert (found.loc["real", "n"] == 0).all()
    assert (found.loc[("predicted", "A"), "n"] == 5).all()
    assert found.loc["predicted", "mmd"].notna().all()


def test_shuffled_contexts_are_the_predictions_of_the_next_context(real, table) -> None:
    other = perturbed(real)
    other.obs["type"] = other.obs["type"].map({"A": "C", "B": "A", "C": "B"})
    found = perturbation(real, other, gene_sets={"up": ["g20", "g21", "x"], "no": ["x"]}, **BY)
    columns = [name for name in table if name not in ("bandwidth", "embedding")]
    pd.testing.assert_frame_equal(
        found.loc["predicted", columns], table.loc["shuffled contexts", columns], check_exact=False
    )
    one = real[real.obs["type"] == "A"].copy()
    assert "shuffled contexts" not in perturbation(one, perturbed(one), **BY).index.get_level_values("source")


def test_a_perturbation_of_one_context_has_no_shuffled_one(real) -> None:
    some = real[~((real.obs["type"] != "A") & (real.obs["drug"] == "two"))].copy()
    found = perturbation(some, perturbed(some), **BY).loc["shuffled contexts"]
    assert np.isnan(found.loc[("A", "two"), "mae"])
    assert found.loc[("A", "one"), "mae"] > 0
    assert found["discrimination"].drop(MEAN).isna().sum() == 3, "two contexts with one perturbation, and no prediction"


def test_means_are_over_contexts_and_perturbations(table) -> None:
    rows, found = (table.loc["new cells"].drop(MEAN), table.loc[("new cells", MEAN, MEAN)])
    assert found["mae"] == pytest.approx(rows["mae"].mean())
    assert found["n"] == rows["n"].sum()
    assert rows["program_up"].min() < 0 < rows["program_up"].max()
    assert found["program_up"] == pytest.approx(rows["program_up"].abs().mean())


def test_a_gene_that_names_the_perturbation_does_not_tell_it(real) -> None:
    """A prediction for g0 that is right about g0 itself, and for the rest nearer to the effect of g1."""
    named = real[real.obs["type"] == "A"].copy()
    named.obs["drug"] = np.repeat(["none", "g0", "g1"], 20)
    named.X = np.full((60, N_GENES), 1.5)
    named.X[20:40, [0, 5]] += [-1.4, 1]
    named.X[40:60, [1, 6]] += [-0.2, 1]
    other = perturbed(named)
    other.X = np.full(other.shape, 1.5)
    other.X[:20, [0, 6]] += [-1.4, 0.6]  # 1.6 from g0 and 2 from g1, or 0.6 without the gene g0
    other.X[20:, 6] += 1
    coordinates = np.random.default_rng(0).normal(size=(60, 2))
    found = perturbation(named, other, embedding=lambda adata: coordinates[: adata.n_obs], **BY)
    assert found.loc[("predicted", "A", "g0"), "discrimination"] == 0.5
    assert found.loc[("predicted", "A", "g1"), "discrimination"] == 1
    plain = [name if name not in ("g0", "g1") else f"gene-{name}" for name in named.var_names]
    named.var_names = other.var_names = plain
    found = perturbation(named, other, embedding=lambda adata: coordinates[: adata.n_obs], **BY)
    assert found.loc[("predicted", "A", "g0"), "discrimination"] == 1


def test_distances_by_hand(real) -> None:
    """One dimension: real cells of A at 0, of B at 2, of C at 4; those predicted for A lie at 3, others are right."""
    cells, other = real.copy(), perturbed(real)
    place = {"A": 0.0, "B": 2.0, "C": 4.0}
    cells.obsm["X"] = cells.obs["type"].map(place).to_numpy(float)[:, None]
    other.obsm["X"] = other.obs["type"].map(place | {"A": 3.0}).to_numpy(float)[:, None]
    found = perturbation(cells, other, embedding="X", **BY)
    assert (found["bandwidth"] == 2).all()
    expected = {"mmd": 2 - 2 * np.exp(-9 / 8), "energy": 6, "sliced_wasserstein": 3, "scfid": 9}
    for name, value in expected.items():
        np.testing.assert_allclose(found.loc[("predicted", "A"), name], value)
        np.testing.assert_allclose(found.loc[("predicted", "B"), name], 0, atol=1e-12)
        np.testing.assert_allclose(found.loc["no change", name], 0, atol=1e-12)
    # Shuffled: the cells predicted for the next context, at 2, 4 and 3.
    np.testing.assert_allclose(found.loc["shuffled contexts", "energy"].drop(MEAN), [4, 4, 4, 4, 2, 2])
    computed = perturbation(cells, other, embedding=lambda adata: adata.obsm["X"], **BY)
    np.testing.assert_allclose(computed["energy"], found["energy"])
    del other.obsm["X"]
    with pytest.raises(KeyError, match="obsm has no 'X'"):
        perturbation(cells, other, embedding="X", **BY)


def test_gene_wasserstein_of_a_shift(real) -> None:
    other = perturbed(real)
    constant = real.copy()
    constant.X = np.full(real.shape, 1.5) + (np.arange(real.n_obs) % 2)[:, None] * 1e-9
    constant.X[(real.obs["drug"] == "none").to_numpy()] = 0.7
    other.X = np.full(other.shape, -0.5)
    found = perturbation(constant, other, embedding=lambda adata: np.asarray(adata.X)[:, :2], **BY)
    np.testing.assert_allclose(found.loc["predicted", "gene_wasserstein"], 2, atol=1e-6)
    np.testing.assert_allclose(found.loc["predicted", "mae"], 2, atol=1e-6)
    np.testing.assert_allclose(found.loc["no change", "gene_wasserstein"], 0.8, atol=1e-6)


def test_nothing_depends_on_storage_or_the_order_of_genes(real, table) -> None:
    dense = perturbed(real)[:, ::-1].copy()
    dense.X = dense.X.toarray()
    new = draw(20, seed=1, drugs=("none", *DRUGS))  # control cells of a predictor do not count
    new = anndata.concat([new[new.obs["drug"] == "none"], draw(20, seed=1, drugs=DRUGS)], index_unique="-")
    found = perturbation(real, dense, others={"new cells": new}, **BY)
    pd.testing.assert_frame_equal(found, table.drop(columns=["program_up", "program_no"]), rtol=1e-6, atol=1e-9)


def test_genes_that_all_sets_have_are_compared_and_cells_without_context_left_out(real) -> None:
    cells, other = real.copy(), perturbed(real)[:, 10:].copy()
    assert (perturbation(cells, other, **BY)["n_genes"] == 30).all()
    cells.obs["type"] = cells.obs["type"].where(cells.obs["type"] != "C")
    found = perturbation(cells, other[other.obs["type"] != "C"].copy(), **BY)
    assert set(found.index.get_level_values("context")) == {"A", "B", MEAN}


def test_contexts_of_several_columns_and_none(real) -> None:
    cells = real.copy()
    cells.obs["donor"] = np.tile(["x", "y"], real.n_obs // 2)
    found = perturbation(cells, perturbed(cells), **BY | {"groupby": ["type", "donor"]})
    assert list(found.loc["predicted"].loc["A | x"].index) == list(DRUGS)
    alone = perturbation(real, perturbed(real), **BY | {"groupby": None})
    assert list(alone.loc["predicted"].index) == [("all", "one"), ("all", "two"), (MEAN, MEAN)]


def test_too_few_real_cells_are_left_out_with_a_warning(real, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(sc.logging, "warning", said.append)
    kept = np.ones(real.n_obs, dtype=bool)
    kept[22:40] = False  # leaves two cells of A under drug one
    kept[60:78] = False  # and two control cells of B
    some = real[kept].copy()
    found = perturbation(some, perturbed(real), **BY)
    assert list(found.loc["predicted"].index) == [("A", "two"), ("C", "one"), ("C", "two"), (MEAN, MEAN)]
    assert said == [
        "not compared, as fewer than 3 real control or perturbed cells are there: one in A, one in B, two in B"
    ]


def test_a_predictor_that_lacks_something_is_found_out(real) -> None:
    whole = perturbed(real)
    few = whole[~((whole.obs["type"] == "B") & (whole.obs["drug"] == "two"))].copy()
    message = "has 0 cells of 'two' in the context 'B' and needs 3: add some, or leave these cells out of the real ones"
    with pytest.raises(ValueError, match=f"The set 'predicted' {message}"):
        perturbation(real, few, **BY)
    with pytest.raises(ValueError, match=f"The set 'poor' {message}"):
        perturbation(real, whole, others={"poor": few}, **BY)


def test_clear_errors(real) -> None:
    other = perturbed(real)
    with pytest.raises(KeyError, match="no column 'dose' in the set 'real'"):
        perturbation(real, other, **BY | {"condition_key": "dose"})
    with pytest.raises(KeyError, match="no column 'donor'"):
        perturbation(real, other, **BY | {"groupby": "donor"})
    with pytest.raises(ValueError, match="No cell of real has 'vehicle' in 'drug'"):
        perturbation(real, other, **BY | {"control": "vehicle"})
    with pytest.raises(ValueError, match="There is no context with 3 real control cells"):
        perturbation(real[real.obs["drug"] == "none"].copy(), other, **BY)
    with pytest.raises(ValueError, match="has a source 'no change' of its own"):
        perturbation(real, other, others={"no change": other}, **BY)
    broken = other.copy()
    broken.X = other.X.expm1().rint()
    with pytest.raises(ValueError, match="X holds counts in the set 'predicted'"):
        perturbation(real, broken, **BY)
    broken.X = other.X.toarray()
    broken.X[0, 0] = np.nan
    with pytest.raises(ValueError, match="X holds NaN or infinite values in the set 'predicted'"):
        perturbation(real, broken, **BY)
    negative = real.copy()
    negative.X = real.X.toarray() - 0.5
    with pytest.raises(ValueError, match="X holds negative values in the set 'real'"):
        perturbation(negative, other, **BY)
    broken = other.copy()
    broken.var_names = ["g0"] * N_GENES
    with pytest.raises(ValueError, match="Gene names occur twice in the set 'predicted'"):
        perturbation(real, broken, **BY)
    broken.var_names = [f"x{i}" for i in range(N_GENES)]
    with pytest.raises(ValueError, match="no gene in common"):
        perturbation(real, broken, **BY)


# Against cell-eval, where its definitions are ours


@pytest.fixture(scope="module")
def pair(real):
    """Real and predicted cells of one context for cell-eval, which wants the control cells in both."""
    pytest.importorskip("cell_eval")
    from cell_eval._types import PerturbationAnndataPair

    cells = real[real.obs["type"] == "B"].copy()
    rng = np.random.default_rng(5)
    extra = [cells[(cells.obs["drug"] == "one").to_numpy()].copy() for _ in range(3)]
    for i, more in enumerate(extra):
        more.obs["drug"] = f"g{i}"  # a drug by the name of a gene
        more.X = sparse.csr_matrix(more.X.toarray() + rng.gamma(1, 0.2, size=more.shape))
    cells = anndata.concat([cells, *extra], index_unique="-")
    cells.X = cells.X.toarray().astype(np.float64)
    predicted = cells.copy()
    moved = (cells.obs["drug"] != "none").to_numpy()
    codes = cells.obs["drug"].astype("category").cat.codes.to_numpy()
    predicted.X[moved] += rng.normal(scale=0.5, size=(codes.max() + 1, N_GENES))[codes[moved]]
    return PerturbationAnndataPair(real=cells, pred=predicted, pert_col="drug", control_pert="none")


def test_cell_eval_agrees(pair) -> None:
    from cell_eval.metrics import _anndata as theirs

    ours = perturbation(pair.real, pair.pred, **BY).loc["predicted"].loc["B"]
    expected = {
        "pearson_delta": theirs.pearson_delta(pair),
        "mae": theirs.mae(pair),
        "discrimination": theirs.discrimination_score(pair, metric="l1"),
    }
    assert expected["mae"] == pytest.approx(theirs.mae_delta(pair), abs=1e-9)
    assert len(set(expected["discrimination"].values())) > 1
    for name, values in expected.items():
        np.testing.assert_allclose(ours[name], pd.Series(values).loc[ours.index], atol=1e-6, err_msg=name)
    bulk = list(pair.iter_bulk_arrays())
    changes = [np.array([each.perturbation_effect(which) for each in bulk]) for which in ("pred", "real")]
    targets = np.array([pair.genes == name for name in pair.perts])
    for metric in ("l2", "cosine"):
        scores = discrimination_score(*changes, metric=metric, exclude=targets)
        np.testing.assert_allclose(scores, list(theirs.discrimination_score(pair, metric=metric).values()), atol=1e-6)


def test_cell_eval_agrees_on_directions_of_the_genes_that_it_calls_significant(pair) -> None:
    """It takes the Mann-Whitney test, so that the genes differ; what it does with them does not."""
    from cell_eval._types import initialize_de_comparison
    from cell_eval.metrics._de import DEDirectionMatch
    from pdex import pdex

    tests = [pdex(cells, groupby="drug", reference="none", is_log1p=True) for cells in (pair.real, pair.pred)]
    expected = DEDirectionMatch()(initialize_de_comparison(*tests))
    significant = tests[0].to_pandas().pivot(index="target", columns="feature", values="fdr").astype(float) < 0.05
    for each in pair.iter_bulk_arrays():
        chosen = significant.loc[each.key, pair.genes].to_numpy()
        found = direction_match(each.perturbation_effect("real"), each.perturbation_effect("pred"), chosen)
        assert found == pytest.approx(expected[each.key], abs=1e-6)
