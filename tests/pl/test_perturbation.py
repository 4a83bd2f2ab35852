from __future__ import annotations

import numpy as np
import pytest

import sc_c2s as c2s
from sc_c2s.pl import _perturbed_embedding

B, MONO = "B cell", "CD14+ monocyte"


@pytest.fixture(autouse=True)
def flat(monkeypatch):
    """The first two genes in place of a UMAP, which takes seconds."""
    monkeypatch.setattr(_perturbed_embedding, "_umap", lambda x, n_comps, rng: x[:, :2].toarray())


def plot(cells, **options):
    return c2s.pl.perturbation(cells.data, **{"show": False, **cells.where, **options})


def titles(axes) -> list[str]:
    return [
        (ax.get_title() or ax.get_title(loc="left")).splitlines()[0]
        for ax in axes
        if ax.get_title() or ax.get_title(loc="left")
    ]


def test_all_in_one_figure(with_perturbed):
    axes = plot(with_perturbed, gene_sets={"interferon": ["GENE20", "GENE21"], "B cells": ["GENE0"]})
    assert titles(axes) == [
        B,
        MONO,
        "before (none)",
        "after IFN, real",
        "after IFN, predicted",
        "interferon (2 of 2 genes)",
        "B cells (1 of 1 genes)",
    ]
    table = axes[-1]
    assert [label.get_text() for label in table.get_yticklabels()] == [
        "model",
        "mean shift",
        "scrambled name",
        "no change",
    ]
    figure = axes[0].get_figure(root=True)
    assert figure.get_suptitle() == "none → IFN"
    assert all(ax.get_figure(root=True) is figure for ax in axes)


def test_each_part_is_that_of_its_own_plot(with_perturbed):
    changes, *embedding, table = plot(with_perturbed, context=MONO, n_labels=4, n_cells=9)
    (alone,) = c2s.pl.perturbed_changes(
        with_perturbed.data, context=MONO, n_labels=4, show=False, **with_perturbed.where
    )
    np.testing.assert_array_equal(changes.collections[0].get_offsets(), alone.collections[0].get_offsets())
    assert [text.get_text() for text in changes.texts] == [text.get_text() for text in alone.texts]
    assert changes.get_title() == alone.get_title()
    assert [len(ax.collections[1].get_offsets()) for ax in embedding] == [9, 9, 9]
    stored = c2s.pl.perturbed_table(with_perturbed.adata.uns["c2s_perturbed"]["metrics"], show=False)
    np.testing.assert_array_equal(table.images[0].get_array(), stored.images[0].get_array())


def test_nothing_is_cut_off(with_perturbed):
    fig = plot(with_perturbed, gene_sets=["GENE20"], return_fig=True)
    fig.canvas.draw()
    for ax in fig.axes:
        words = [
            label
            for label in (*ax.get_xticklabels(), *ax.get_yticklabels(), ax.title, ax.yaxis.label)
            if label.get_text()
        ]
        boxes = [word.get_window_extent() for word in words if word.get_visible()]
        assert all(fig.bbox.x0 <= box.x0 and box.x1 <= fig.bbox.x1 for box in boxes)
        assert all(fig.bbox.y0 <= box.y0 and box.y1 <= fig.bbox.y1 for box in boxes)
    # Bars of colour are narrow, all else has room.
    assert all(ax.get_window_extent().height > 60 for ax in fig.axes)


def test_bad_input(with_perturbed):
    import matplotlib.pyplot as plt

    with pytest.raises(KeyError, match="None of the genes of 'A'"):
        plot(with_perturbed, gene_sets={"A": ["CD19"]})
    with pytest.raises(KeyError, match="no context 'other'"):
        plot(with_perturbed, context="other")
    adata = with_perturbed.adata
    metrics = adata.uns["c2s_perturbed"].pop("metrics")
    with pytest.raises(
        ValueError, match=r"uns\['c2s_perturbed'\] holds no metrics: run tl.perturb again on data that hold"
    ):
        plot(with_perturbed)
    adata.uns["c2s_perturbed"]["metrics"] = metrics
    adata.obs["treatment"] = adata.obs["treatment"].astype(object).where(adata.obs["treatment"] == "none")
    with pytest.raises(ValueError, match="no predicted context has 3 real cells with 'IFN'"):
        plot(with_perturbed)
    assert not plt.get_fignums(), "no half-drawn figure is left behind"
