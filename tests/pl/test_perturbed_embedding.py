from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

import sc_c2s as c2s
from sc_c2s.pl import _perturbed_embedding
from sc_c2s.pl._prediction import COLOURS


def plot(cells, **options):
    return c2s.pl.perturbed_embedding(cells.data, **{"show": False, **cells.where, **options})


@pytest.fixture
def flat(monkeypatch):
    """The first two genes in place of a UMAP, which takes seconds; what went into it is kept."""
    seen = []

    def first_two(x, n_comps, rng):
        seen.append(x.toarray())
        return x[:, :2].toarray()

    monkeypatch.setattr(_perturbed_embedding, "_umap", first_two)
    return seen


def colours_of(dots) -> set[str]:
    return {to_hex(colour) for colour in dots.get_facecolors()}


def test_three_kinds_in_three_colours_on_the_same_axes(with_perturbed, flat):
    axes = plot(with_perturbed)
    assert [ax.get_title() for ax in axes] == [
        "before (none)\n30 cells",
        "after IFN, real\n22 cells",
        "after IFN, predicted\n29 cells",
    ]
    for ax, n, colour in zip(axes, (30, 22, 29), COLOURS.values(), strict=True):
        behind, dots = ax.collections
        assert (len(behind.get_offsets()), len(dots.get_offsets())) == (81 - n, n)
        assert colours_of(behind) == {"#dcdcdc"}
        assert colours_of(dots) == {colour.lower()}
        assert (ax.get_xlim(), ax.get_ylim()) == (axes[0].get_xlim(), axes[0].get_ylim())
    assert [text.get_text() for text in axes[-1].get_legend().get_texts()] == [
        "control",
        "real",
        "predicted",
        "the others",
    ]


def test_the_cells_are_those_of_the_data_and_of_the_prediction(with_perturbed, flat):
    plot(with_perturbed)
    adata = with_perturbed.adata
    stored = c2s.get.perturbed(with_perturbed.data, **with_perturbed.where)
    x = adata.X.toarray()
    log = np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))[:, adata.var_names.isin(stored.var_names)]
    treatment = adata.obs["treatment"].to_numpy()
    expected = np.concatenate([log[treatment == "none"], log[treatment == "IFN"], stored.X])
    (found,) = flat
    np.testing.assert_allclose(*(np.sort(rows, axis=0) for rows in (found, expected)), rtol=1e-4)
    np.testing.assert_allclose(np.sort(found[52:].sum(axis=1)), np.sort(stored.X.sum(axis=1)), rtol=1e-4)


def test_contexts_in_the_colours_of_scanpy(with_perturbed, flat):
    adata = with_perturbed.adata
    adata.uns["cell_type_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    before, real, _ = plot(with_perturbed, color="context")
    assert colours_of(before.collections[1]) == {"#ff0000", "#00ff00", "#0000ff"}
    blue = [to_hex(colour) for colour in real.collections[1].get_facecolors()].count("#0000ff")
    assert blue == 2
    palette = dict.fromkeys(adata.obs["cell_type"].cat.categories, "#123456")
    assert colours_of(plot(with_perturbed, color="context", palette=palette)[0].collections[1]) == {"#123456"}


def test_some_of_the_cells(with_perturbed, flat):
    axes = plot(with_perturbed, n_cells=25, size=7)
    assert [len(ax.collections[1].get_offsets()) for ax in axes] == [25, 22, 25]
    assert axes[0].collections[0].get_sizes().tolist() == [7]
    plot(with_perturbed, n_cells=25)
    np.testing.assert_array_equal(flat[0], flat[1])
    plot(with_perturbed, n_cells=25, rng=1)
    assert not np.array_equal(flat[0], flat[2])


def test_without_real_perturbed_cells_their_panel_is_left_out(with_perturbed, flat):
    adata = with_perturbed.adata
    adata.obs["treatment"] = adata.obs["treatment"].astype(object).where(adata.obs["treatment"] == "none")
    axes = plot(with_perturbed)
    assert [ax.get_title().splitlines()[0] for ax in axes] == ["before (none)", "after IFN, predicted"]
    assert colours_of(axes[1].collections[1]) == {COLOURS["predicted"].lower()}


@pytest.mark.slow
def test_umap_brings_predicted_cells_to_their_context(with_perturbed):
    """Where it matters, cells and places are still in step: each predicted cell comes from a control cell of its type."""
    dots = [ax.collections[1] for ax in plot(with_perturbed, color="context")]
    before, _, predicted = (np.asarray(one.get_offsets()) for one in dots)
    nearest = np.linalg.norm(predicted[:, None] - before, axis=2).argmin(axis=1)
    of_before, of_predicted = (np.array([to_hex(c) for c in dots[i].get_facecolors()]) for i in (0, 2))
    assert (of_before[nearest] == of_predicted).mean() > 0.9


def test_figure_and_axes(with_perturbed, flat):
    import matplotlib.pyplot as plt

    fig, mine = plt.subplots(1, 3)
    assert plot(with_perturbed, ax=mine) == list(mine)
    assert plot(with_perturbed, ax=mine, return_fig=True) is fig


def test_bad_input(with_perturbed):
    with pytest.raises(ValueError, match="color must be 'kind' or 'context', not 'donor'"):
        plot(with_perturbed, color="donor")
    with pytest.raises(ValueError, match="n_cells=0 has to be 1 or more"):
        plot(with_perturbed, n_cells=0)
    with pytest.raises(ValueError, match="five cells and three genes or more; here are 3 and 36"):
        plot(with_perturbed, n_cells=1)
