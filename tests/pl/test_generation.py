from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import sc_c2s as c2s


@pytest.fixture
def table() -> pd.DataFrame:
    rows = {
        ("generated", "A"): (4.0, 0.9, 0.4, 0.8, np.nan),
        ("generated", "B"): (6.0, 0.8, 0.6, 0.9, 0.25),
        ("generated", "(mean)"): (5.0, 0.85, 0.5, 0.85, 0.25),
        ("real", "A"): (1.0, 0.9, 0.5, 1.0, 0.5),
        ("real", "B"): (2.0, 1.0, 0.5, 1.2, 0.5),
        ("real", "(mean)"): (1.5, 0.95, 0.5, 1.1, 0.5),
        ("shuffled conditions", "A"): (150.0, 0.1, 0.9, 1.5, 1.0),
        ("shuffled conditions", "B"): (151.0, 0.2, 0.9, 1.7, 1.0),
        ("shuffled conditions", "(mean)"): (150.5, 0.15, 0.9, 1.6, 1.0),
    }
    index = pd.MultiIndex.from_tuples(rows, names=["source", "condition"])
    found = pd.DataFrame(rows.values(), index=index, columns=["scfid", "knn_5", "auc", "diversity", "rare_genes"])
    return found.assign(n=50, n_genes=100, embedding="pca (50)", bandwidth=3.0)


def texts(ax) -> list[list[str]]:
    """What is written, row by row."""
    places = {tuple(text.get_position()): text.get_text() for text in ax.texts}
    n_columns, n_rows = (1 + max(side) for side in zip(*places, strict=True))
    return [[places[x, y] for x in range(n_columns)] for y in range(n_rows)]


def nearness(ax) -> dict[tuple[int, int], float]:
    """Number behind the colour of every dot, by column and row."""
    (dots,) = ax.collections
    return {(int(x), int(y)): v for (x, y), v in zip(dots.get_offsets(), dots.get_array(), strict=True)}


def test_means_of_the_sources(table):
    ax = c2s.pl.generation(table, show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["generated", "real", "shuffled conditions"]
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "scFID → 0",
        "real-or-generated AUC → 0.5",
        "5-NN accuracy → 1",
        "rare genes found → 1",
        "diversity → 1",
    ]
    assert texts(ax) == [
        ["5.00", "0.50", "0.85", "0.25", "0.85"],
        ["1.50", "0.50", "0.95", "0.50", "1.10"],
        ["150", "0.90", "0.15", "1.00", "1.60"],  # half to even
    ]


def test_colours_follow_the_distance_to_the_best_value(table):
    ax = c2s.pl.generation(table, metrics=["scfid", "auc", "knn_5", "diversity"], show=False)
    found = nearness(ax)
    assert [found[0, row] for row in range(3)] == pytest.approx([145.5 / 149, 1, 0]), "low is good"
    assert [found[1, row] for row in range(3)] == pytest.approx([1, 1, 0]), "0.5 is good"
    assert [found[2, row] for row in range(3)] == pytest.approx([0.7 / 0.8, 1, 0]), "high is good"
    assert [found[3, row] for row in range(3)] == pytest.approx([0.45 / 0.5, 1, 0]), "1 is good, from either side"
    assert ax.yaxis_inverted()


def test_an_auc_below_one_half_is_as_far_off_as_one_above(table):
    ax = c2s.pl.generation(table.loc[["generated"]], metrics=["auc"], conditions=True, show=False)
    found = nearness(ax)
    assert found[0, 0] == pytest.approx(found[0, 1])
    assert found[0, 2] == 1


def test_conditions_and_their_means(table):
    ax = c2s.pl.generation(table.loc[["generated", "real"]], conditions=True, show=False)
    labels = ax.get_yticklabels()
    assert [label.get_text() for label in labels] == [
        "generated: A",
        "generated: B",
        "generated: mean",
        "real: A",
        "real: B",
        "real: mean",
    ]
    assert [label.get_fontweight() == "bold" for label in labels] == [False, False, True] * 2
    assert [line.get_ydata()[0] for line in ax.lines] == [2.5], "between the sources"
    assert texts(ax)[0][3] == "–"
    assert (3, 0) not in nearness(ax), "what was not measured has no dot"


def test_chosen_scores_in_their_order(table):
    ax = c2s.pl.generation(table, metrics=["diversity", "scfid"], show=False)
    assert texts(ax)[0] == ["0.85", "5.00"]


def test_words_can_be_read_on_their_dots(table):
    ax = c2s.pl.generation(table, metrics=["scfid"], cmap="Greys", show=False)
    assert [to_hex(text.get_color()) for text in ax.texts] == ["#ffffff", "#ffffff", "#000000"]


def test_equal_scores_are_all_the_best(table):
    table["auc"] = 0.7
    assert set(nearness(c2s.pl.generation(table, metrics=["auc"], show=False)).values()) == {1}


def test_nothing_is_cut_off(table):
    for metrics in (None, ["scfid"]):
        fig = c2s.pl.generation(table, metrics=metrics, conditions=True, return_fig=True)
        fig.canvas.draw()
        ax, bar = fig.axes
        words = [*ax.get_xticklabels(), *ax.get_yticklabels(), *bar.get_yticklabels()]
        boxes = [word.get_window_extent() for word in words]
        assert all(fig.bbox.x0 <= box.x0 and box.x1 <= fig.bbox.x1 for box in boxes)
        assert all(fig.bbox.y0 <= box.y0 and box.y1 <= fig.bbox.y1 for box in boxes)


def test_every_score_of_the_metric_is_known(make_cells):
    cells = [make_cells(45, 20, seed=i) for i in range(2)]
    for adata in cells:
        adata.X = adata.X.log1p()
    found = c2s.metrics.generation(*cells, groupby="cell_type", n_comps=5)
    ax = c2s.pl.generation(found, show=False)
    about = {"n", "n_genes", "embedding", "bandwidth"}
    empty = {name for name in found if found[name].isna().all()}
    assert len(ax.get_xticks()) == len(set(found) - about - empty)


def test_bad_input(table):
    with pytest.raises(KeyError, match="no score 'embedding'; it has scfid, auc, knn_5"):
        c2s.pl.generation(table, metrics=["embedding"])
    with pytest.raises(ValueError, match=r"set_index\(\['source', 'condition'\]\)"):
        c2s.pl.generation(table.reset_index())
    with pytest.raises(ValueError, match="no scores to show"):
        c2s.pl.generation(table.drop("(mean)", level="condition"))
