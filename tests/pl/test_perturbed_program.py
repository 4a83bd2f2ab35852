from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

import sc_c2s as c2s
from sc_c2s.metrics import program_scores
from sc_c2s.pl._prediction import COLOURS

PROGRAMS = {"interferon": ["GENE20", "GENE21", "GENE22", "NOWHERE"], "B cells": ["GENE0", "GENE1"]}
KINDS = ["B cell", "CD14+ monocyte", "T cell, CD4/CD8"]


def plot(cells, **options):
    return c2s.pl.perturbed_program(cells.data, **{"genes": PROGRAMS, "show": False, **cells.where, **options})


def medians(ax) -> list[np.ndarray]:
    """Of each kind of cells, by context: the lines in the violins."""
    from matplotlib.collections import LineCollection

    lines = [one for one in ax.collections if isinstance(one, LineCollection)]
    return [np.array([path.vertices[0, 1] for path in one.get_paths()]) for one in lines]


def test_scores_of_the_three_kinds_by_context(with_perturbed):
    axes = plot(with_perturbed)
    assert [ax.get_title(loc="left") for ax in axes] == ["interferon (3 of 4 genes)", "B cells (2 of 2 genes)"]
    adata = with_perturbed.adata
    stored = c2s.get.perturbed(with_perturbed.data, **with_perturbed.where)
    x = adata.X.toarray()
    log = np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))[:, adata.var_names.isin(stored.var_names)]
    scores = program_scores(log, list(stored.var_names), PROGRAMS)
    of_stored = program_scores(stored.X, list(stored.var_names), PROGRAMS)
    types, treatment = adata.obs["cell_type"].to_numpy(), adata.obs["treatment"].to_numpy()
    for ax, program in zip(axes, PROGRAMS, strict=True):
        expected = [
            [np.median(scores[program][(types == kind) & (treatment == what)]) for kind in KINDS]
            for what in ("none", "IFN")
        ]
        expected.append([np.median(of_stored[program][stored.obs["cell_type"].to_numpy() == kind]) for kind in KINDS])
        np.testing.assert_allclose(medians(ax), expected, rtol=1e-4, atol=1e-5)
    assert [label.get_text() for label in axes[-1].get_xticklabels()] == KINDS
    control, real, predicted = medians(axes[0])
    assert (real > control).all()
    assert (predicted > control).all()
    legend = axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["control", "real", "predicted"]
    assert legend.get_title().get_text() == "none → IFN"
    bodies = [one for one in axes[0].collections if one.get_alpha() == 0.85]
    assert [to_hex(body.get_facecolor()[0]) for body in bodies] == [
        colour.lower() for colour in COLOURS.values() for _ in KINDS
    ]


def test_a_list_is_one_program(with_perturbed):
    (ax,) = plot(with_perturbed, genes=["GENE20", "GENE21"])
    assert ax.get_title(loc="left") == "program (2 of 2 genes)"


def test_without_real_perturbed_cells(with_perturbed):
    adata = with_perturbed.adata
    adata.obs["treatment"] = adata.obs["treatment"].astype(object).where(adata.obs["treatment"] == "none")
    ax, _ = plot(with_perturbed)
    assert len(medians(ax)) == 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["control", "predicted"]


def test_a_context_without_real_cells_has_a_gap(with_perturbed):
    adata = with_perturbed.adata
    hidden = (adata.obs["cell_type"] == KINDS[1]) & (adata.obs["treatment"] == "IFN")
    adata.obs.loc[hidden, "treatment"] = "IL-6"
    assert [len(kind) for kind in medians(plot(with_perturbed)[0])] == [3, 2, 3]


def test_figure_and_axes(with_perturbed):
    import matplotlib.pyplot as plt

    fig, mine = plt.subplots(2, 1)
    assert plot(with_perturbed, ax=mine) == list(mine)
    assert plot(with_perturbed, ax=mine, return_fig=True) is fig


def test_nothing_is_cut_off(with_perturbed):
    fig = plot(with_perturbed, return_fig=True)
    fig.canvas.draw()
    words = [*fig.axes[1].get_xticklabels(), fig.axes[0].get_legend()]
    boxes = [word.get_window_extent() for word in words]
    assert all(fig.bbox.x0 <= box.x0 and box.x1 <= fig.bbox.x1 and fig.bbox.y0 <= box.y0 for box in boxes)
    assert fig.axes[1].get_window_extent().height > 50


def test_bad_input(with_perturbed):
    with pytest.raises(KeyError, match=r"None of the genes of 'B' \('CD19', …\) was predicted; choose others"):
        plot(with_perturbed, genes={"A": ["GENE0"], "B": ["CD19"]})
    with pytest.raises(ValueError, match="genes='GENE0' is a single name: give a list of genes, or a mapping"):
        plot(with_perturbed, genes="GENE0")
    for nothing in ([], {}, {"A": []}):
        with pytest.raises(ValueError, match="no program to show, or one without genes"):
            plot(with_perturbed, genes=nothing)
