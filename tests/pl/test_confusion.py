from __future__ import annotations

import numpy as np
import pytest

import sc_c2s as c2s


def texts(ax) -> dict[tuple[int, int], str]:
    """What is written in each field, by row and column."""
    return {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in ax.texts}


@pytest.mark.parametrize("split", ["test", "train", None])
def test_shows_the_table_of_the_split(annotated, split):
    ax = c2s.pl.confusion(annotated.data, "cell_type", split=split, show=False, **annotated.where)
    obs = annotated.adata.obs
    obs = obs[obs["cell_type"].notna() & ((obs["c2s_split"] == split) | (split is None))]
    counts = c2s.metrics.confusion(obs["cell_type"], obs["c2s_cell_type"])
    assert counts.to_numpy().sum() == len(obs)
    np.testing.assert_allclose(ax.images[0].get_array(), counts.div(counts.sum(axis=1), axis=0))
    assert texts(ax) == {(i, j): str(n) for (i, j), n in np.ndenumerate(counts.to_numpy()) if n}
    assert [t.get_text() for t in ax.get_xticklabels()] == counts.columns.tolist()
    assert [t.get_text() for t in ax.get_yticklabels()] == [f"{k} ({n})" for k, n in counts.sum(axis=1).items()]
    assert f"{len(obs)} cells" in ax.get_title()
    accuracy = (obs["cell_type"].astype(str) == obs["c2s_cell_type"].astype(str)).mean()
    assert f"accuracy {accuracy:.3f}" in ax.get_title()


def test_all_cells_where_no_split_was_made(annotated):
    del annotated.adata.obs["c2s_split"]
    ax = c2s.pl.confusion(annotated.data, "cell_type", show=False, **annotated.where)
    assert "59 cells" in ax.get_title()


def test_own_order_and_axes(annotated):
    import matplotlib.pyplot as plt

    labels = annotated.adata.obs["cell_type"].cat.categories[::-1].tolist()
    _, mine = plt.subplots()
    ax = c2s.pl.confusion(annotated.data, "cell_type", labels=labels, ax=mine, show=False, **annotated.where)
    assert ax is mine
    assert [t.get_text().rsplit(" (", 1)[0] for t in ax.get_yticklabels()] == labels


def test_nothing_is_cut_off_or_overlaps_with_twenty_long_labels(adata):
    names = [f"Classical monocyte, CD14+ number {i}" for i in range(20)]
    adata.obs["truth"] = np.resize(names, adata.n_obs)
    adata.obs["c2s_cell_type"] = np.resize(names[::-1], adata.n_obs)
    fig = c2s.pl.confusion(adata, "truth", return_fig=True)
    fig.canvas.draw()
    ax, whole = fig.axes[0], fig.bbox
    boxes = [t.get_window_extent() for t in (*ax.get_xticklabels(), *ax.get_yticklabels(), ax.title, ax.xaxis.label)]
    assert all(whole.x0 <= b.x0 and b.x1 <= whole.x1 and whole.y0 <= b.y0 and b.y1 <= whole.y1 for b in boxes)
    rows = sorted((t.get_window_extent() for t in ax.get_yticklabels()), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 for below, above in zip(rows, rows[1:], strict=False))


def test_shows_or_returns(annotated, monkeypatch):
    import matplotlib.pyplot as plt

    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(True))
    assert c2s.pl.confusion(annotated.data, "cell_type", show=True, **annotated.where) is None
    assert shown == [True]
    _, ax = plt.subplots()
    assert c2s.pl.confusion(annotated.data, "cell_type", ax=ax, **annotated.where) is ax
    assert shown == [True]


def test_bad_input(annotated):
    data, where = annotated.data, annotated.where
    with pytest.raises(KeyError, match="no column 'nonsense'.*cell_type"):
        c2s.pl.confusion(data, "nonsense", show=False, **where)
    with pytest.raises(KeyError, match="tl.annotate"):
        c2s.pl.confusion(data, "cell_type", key="nonsense", show=False, **where)
    with pytest.raises(ValueError, match="'validation'.*'test', 'train'"):
        c2s.pl.confusion(data, "cell_type", split="validation", show=False, **where)
    annotated.adata.obs["cell_type"] = None
    with pytest.raises(ValueError, match="No cell has a label"):
        c2s.pl.confusion(data, "cell_type", split=None, show=False, **where)
