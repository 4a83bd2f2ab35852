from __future__ import annotations

import numpy as np
import pytest

import sc_c2s as c2s
from sc_c2s.metrics.fold_changes import fold_change_agreement, log_fold_changes

KINDS = ["B cell", "CD14+ monocyte", "T cell, CD4/CD8"]


def plot(cells, **options):
    options = {"groupby": "cell_type", "show": False, **cells.where, **options}
    return c2s.pl.generated_fold_changes(cells.data, **options)


def both(cells) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Values and types of real and of generated cells, and the genes."""
    adata, stored = cells.adata, c2s.get.generated(cells.data, **cells.where)
    x = adata.X.toarray()
    real = np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))[:, adata.var_names.isin(stored.var_names)]
    types = adata.obs["cell_type"].to_numpy(), stored.obs["cell_type"].to_numpy()
    return real, types[0], stored.X.toarray(), types[1], list(stored.var_names)


def test_a_panel_for_each_condition(with_generated):
    real, of_real, generated, of_generated, _ = both(with_generated)
    axes = plot(with_generated)
    assert [ax.get_title() for ax in axes] == KINDS
    scores = fold_change_agreement(real, of_real, generated, of_generated)
    truth, found = log_fold_changes(real, of_real), log_fold_changes(generated, of_generated)
    for ax, kind in zip(axes, KINDS, strict=True):
        dots = ax.collections[0].get_offsets()
        # Real cells of every type show every gene.
        np.testing.assert_allclose(dots, np.column_stack([truth.loc[kind], found.loc[kind]]), rtol=1e-4, atol=1e-5)
        pearson, slope = scores.loc[kind, ["lfc_pearson", "lfc_slope"]]
        written = ax.texts[0].get_text()
        assert written.splitlines() == [f"Pearson {pearson:.2f}", f"slope {slope:.2f}", "36 genes"]
        assert ax.get_xlim() == ax.get_ylim()
        assert "real" in ax.get_xlabel()
        assert "generated" in ax.get_ylabel()


def test_lines_are_the_diagonal_and_the_slope(with_generated):
    (ax,) = plot(with_generated, group=KINDS[1])
    real, of_real, generated, of_generated, _ = both(with_generated)
    slope = fold_change_agreement(real, of_real, generated, of_generated).loc[KINDS[1], "lfc_slope"]
    *_, diagonal, fitted = (line.get_xydata() for line in ax.lines)
    np.testing.assert_array_equal(diagonal[:, 0], diagonal[:, 1])
    (x0, y0), (x1, y1) = fitted
    assert (y1 - y0) / (x1 - x0) == pytest.approx(slope, rel=1e-4)
    dots = np.asarray(ax.collections[0].get_offsets())
    middle = dots.mean(axis=0)
    assert y0 + slope * (middle[0] - x0) == pytest.approx(middle[1], abs=1e-4)


@pytest.mark.parametrize("n_labels", [0, 4, 10])
def test_the_genes_that_differ_most_are_named(with_generated, n_labels):
    real, of_real, _, _, genes = both(with_generated)
    (ax,) = plot(with_generated, group="B cell", n_labels=n_labels)
    truth = log_fold_changes(real, of_real).loc["B cell"].to_numpy()
    expected = [genes[i] for i in np.argsort(-np.abs(truth))[:n_labels]]
    names = ax.texts[1:]
    assert [text.get_text() for text in names] == expected
    if n_labels == 4:
        assert set(expected) == {"GENE0", "GENE1", "GENE2", "GENE3"}
    for text, gene in zip(names, expected, strict=True):
        assert text.xy[0] == pytest.approx(truth[genes.index(gene)], abs=1e-4)


def test_chosen_groups_in_their_order(with_generated):
    assert [ax.get_title() for ax in plot(with_generated, group=KINDS[:0:-1])] == KINDS[:0:-1]
    with pytest.raises(KeyError, match="no group 'NK' on both sides; there are: 'B cell', 'CD14"):
        plot(with_generated, group="NK")
    with pytest.raises(ValueError, match="no group to show"):
        plot(with_generated, group=[])


def test_combinations(with_generated):
    axes = plot(with_generated, groupby=["cell_type", "donor"], group=["B cell | donor1"], n_labels=2)
    assert [ax.get_title() for ax in axes] == ["B cell | donor1"]


def test_own_axes(with_generated):
    import matplotlib.pyplot as plt

    fig, mine = plt.subplots()
    assert plot(with_generated, group="B cell", ax=mine) == [mine]
    assert plot(with_generated, group="B cell", ax=mine, return_fig=True) is fig
    with pytest.raises(ValueError, match="3 panels, and ax= brings 1 axes"):
        plot(with_generated, ax=mine)


def test_one_condition_has_nothing_to_differ_from(with_generated):
    with_generated.adata.obs["one"] = "x"
    with pytest.raises(ValueError, match="two groups or more"):
        plot(with_generated, groupby="one")
