from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

import sc_c2s as c2s
from sc_c2s.pl._axes import GREY, ORANGE

N = 15


@pytest.fixture
def screened(any_data):
    """Fifteen candidates, four of which are hits."""
    rng = np.random.default_rng(0)
    a = rng.normal(0.1, 0.3, N)
    b = a + np.where(np.arange(N) < 4, [*[0.8, -0.7] * 7, 0.5], rng.normal(0, 0.05, N))
    table = pd.DataFrame(
        {
            "candidate": pd.Series([f"GENE{i} + drug" for i in range(N)], dtype=object),
            "effect_a": a,
            "effect_b": b,
            "split": a - b,
            "hit": np.arange(N) < 4,
        }
    )
    table = table.sort_values("split", key=lambda split: -split.abs(), ignore_index=True)
    any_data.adata.uns["c2s_screen"] = {
        "table": table,
        "contexts_a": np.array(["B cell"], dtype=object),
        "contexts_b": np.array(["CD14+ monocyte", "T cell, CD4/CD8"], dtype=object),
        "genes": np.array(["GENE1", "GENE2", "GENE3"], dtype=object),
        "n_hits": 4,
        "share_also_baseline": 0.25,
    }
    return any_data


def plot(cells, **options):
    return c2s.pl.screen(cells.data, **{"show": False, **cells.where, **options})


def test_a_dot_for_each_candidate_and_a_colour_for_hits(screened) -> None:
    table = screened.adata.uns["c2s_screen"]["table"]
    ax = plot(screened)
    for dots, which, colour in zip(ax.collections, (~table["hit"], table["hit"]), (GREY, ORANGE), strict=True):
        np.testing.assert_allclose(dots.get_offsets(), table.loc[which, ["effect_a", "effect_b"]])
        assert to_rgba(colour)[:3] == tuple(dots.get_facecolor()[0][:3])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["no hit", "hit (adjusted p < 0.05)"]


def test_axes_are_alike_and_show_no_change(screened) -> None:
    ax = plot(screened)
    assert ax.get_xlim() == ax.get_ylim()
    assert ax.get_xlim()[0] < 0 < ax.get_xlim()[1]
    horizontal, vertical, diagonal = (np.asarray(line.get_xydata()) for line in ax.lines)
    assert (horizontal[:, 1] == 0).all()
    assert (vertical[:, 0] == 0).all()
    np.testing.assert_array_equal(diagonal[:, 0], diagonal[:, 1])
    assert ax.get_xlabel() == "change of the program in B cell"
    assert ax.get_ylabel() == "change of the program in CD14+ monocyte, T cell, CD4/CD8"
    assert ax.get_title() == "3 genes: 4 of 15 candidates are hits\n25% of the hits without a model, too"


@pytest.mark.parametrize("n_labels", [0, 3, 10, 99])
def test_the_strongest_are_named_and_no_name_hides_another(screened, n_labels) -> None:
    ax = plot(screened, n_labels=n_labels)
    names = [text.get_text() for text in ax.texts]
    assert names == list(screened.adata.uns["c2s_screen"]["table"]["candidate"][:n_labels])
    boxes = [text.get_window_extent() for text in ax.texts]
    # Of fifteen names in one plot some have to touch.
    if n_labels <= 10:
        assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_without_hits(screened) -> None:
    stored = screened.adata.uns["c2s_screen"]
    stored["table"]["hit"] = False
    stored |= {"n_hits": 0, "share_also_baseline": np.nan, "contexts_a": np.array(list("abc"), dtype=object)}
    ax = plot(screened)
    assert ax.get_title() == "3 genes: 0 of 15 candidates are hits"
    assert ax.get_xlabel() == "change of the program in 3 contexts"


def test_effects_of_nothing(screened) -> None:
    stored = screened.adata.uns["c2s_screen"]
    stored["table"][["effect_a", "effect_b", "split"]] = 0.0
    low, high = plot(screened, n_labels=2).get_xlim()
    assert low < 0 < high


def test_own_axes_and_figure(screened) -> None:
    import matplotlib.pyplot as plt

    fig, mine = plt.subplots()
    assert plot(screened, ax=mine) is mine
    assert plot(screened, return_fig=True) is not fig
    assert plot(screened, ax=mine, return_fig=True) is fig


def test_another_key(screened) -> None:
    with pytest.raises(KeyError, match=r"holds no screen; run tl\.screen first"):
        plot(screened, key="other")
    screened.adata.uns["other"] = screened.adata.uns.pop("c2s_screen")
    assert len(plot(screened, key="other").collections) == 2
