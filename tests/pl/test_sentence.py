from __future__ import annotations

import numpy as np
import pytest

import sc_c2s as c2s

WORDS = ["CD74", "B220 (CD45R)", "LYZ", "MS4A1", "GENE1", "FTL"]


@pytest.fixture
def written(any_data):
    """One cell with a known sentence, one with a long one, one without any gene."""
    column = np.full(any_data.adata.n_obs, "FTL", dtype=object)
    column[0] = "CD74 B220%20(CD45R) LYZ MS4A1 GENE1 FTL"
    column[1] = " ".join(f"GENE{i}" for i in range(300))
    column[2] = ""
    any_data.adata.obs["cell_sentence"] = column
    return any_data


def plot(written, cell, **options):
    return c2s.pl.sentence(written.data, cell, show=False, **written.where, **options)


@pytest.mark.parametrize("cell", [0, "cell000"])
def test_words_in_order(written, cell):
    ax = plot(written, cell)
    assert [text.get_text() for text in ax.texts] == WORDS
    assert ax.get_title(loc="left") == "cell000: 6 genes"


def test_also_from_a_categorical(written):
    written.adata.obs["cell_sentence"] = written.adata.obs["cell_sentence"].astype("category")
    assert [text.get_text() for text in plot(written, 0).texts] == WORDS


def test_first_genes_only(written):
    ax = plot(written, 0, n_genes=2)
    assert [text.get_text() for text in ax.texts] == WORDS[:2]
    assert ax.get_title(loc="left") == "cell000: first 2 of 6 genes"


def test_colours_follow_the_ranks(written):
    from matplotlib import colormaps

    ax = plot(written, 0, cmap="cividis")
    faces = [text.get_bbox_patch().get_facecolor() for text in ax.texts]
    np.testing.assert_allclose(faces, colormaps["cividis"](np.linspace(0, 0.9, 6)))
    brightness = np.array(faces)[:, :3].sum(axis=1)
    assert (np.diff(brightness) > 0).all()
    assert [text.get_color() for text in ax.texts] == ["white"] * 3 + ["black"] * 3


@pytest.mark.parametrize(
    "markers", [["MS4A1", "B220 (CD45R)", "NKG7"], {"B cell": ["MS4A1", "B220 (CD45R)"], "NK": ["NKG7"]}]
)
def test_markers_are_bold_and_framed(written, markers):
    ax = plot(written, 0, markers=markers)
    bold = [text.get_text() for text in ax.texts if text.get_fontweight() == "bold"]
    framed = [text.get_text() for text in ax.texts if text.get_bbox_patch().get_linewidth() > 0]
    assert bold == framed == ["B220 (CD45R)", "MS4A1"]
    assert ax.get_title(loc="left") == "cell000: 6 genes, 2 of 3 markers"


def check_layout(ax) -> None:
    """No word lies on another one or outside the axes; lines are read from left to right and downwards."""
    ax.figure.canvas.draw()
    boxes = [text.get_bbox_patch().get_window_extent() for text in ax.texts]
    room = ax.get_window_extent()
    for box in boxes:
        assert room.x0 - 1 <= box.x0 < box.x1 <= room.x1 + 1
        assert room.y0 - 1 <= box.y0 < box.y1 <= room.y1 + 1
    for before, after in zip(boxes, boxes[1:], strict=False):
        same_line = abs(before.y0 + before.y1 - after.y0 - after.y1) < 4
        assert (before.x1 <= after.x0) if same_line else (after.x0 < before.x0 and after.y1 <= before.y0)
    assert len({round(box.y0 + box.y1) for box in boxes}) > 1


def test_layout(written):
    check_layout(plot(written, 1, n_genes=120, markers=["GENE5"]))


@pytest.mark.parametrize("n_genes", [30, 200])
def test_layout_on_given_axes(written, n_genes):
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(1, 2, figsize=(9, 4))
    ax = plot(written, 1, n_genes=n_genes, ax=axes[1])
    assert ax is axes[1]
    check_layout(ax)


def test_cell_without_genes(written):
    ax = plot(written, 2)
    assert list(ax.texts) == []
    assert ax.get_title(loc="left") == "cell002: 0 genes"


def test_bad_input(written):
    with pytest.raises(KeyError, match="no cell 'nonsense'"):
        plot(written, "nonsense")
    with pytest.raises(IndexError, match="there are 60"):
        plot(written, 60)
    with pytest.raises(KeyError, match="pp.to_sentences"):
        plot(written, 0, key="nonsense")
