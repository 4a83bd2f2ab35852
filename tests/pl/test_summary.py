from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import sc_c2s as c2s
from sc_c2s.pl._axes import BLUE, GREY, RED

TEXTS = {
    "T cells": "Mostly T cells that express CD3D, but not XYZ1\nor MS4A1.",
    "B / plasma": "$5 for B cells, and $6 for more. " * 12,
    "3": "Nothing.",
}
CLAIMS = [
    ("T cells", "Mostly T cells", "confirmed"),
    ("T cells", "CD3D", "contradicted"),
    ("T cells", "XYZ1", "not checkable"),
    ("B / plasma", "B cells", "contradicted"),
]


def result(name: str, **columns: object) -> dict[str, object]:
    """What tl.summarize and tl.ask write."""
    rows = []
    for group, words, verdict in CLAIMS:
        start = TEXTS[group].index(words)
        rows.append((group, start, start + len(words), words, "gene", "said", "found", verdict))
    claims = pd.DataFrame(rows, columns=["group", "start", "end", "words", "kind", "said", "found", "verdict"])
    texts = pd.DataFrame({"text": pd.Series(TEXTS), "n_cells": 20, "n_genes": 50, "n_members": [12, 340, 5], **columns})
    own = [claims[claims["group"] == group] for group in TEXTS]
    shares = pd.DataFrame([c2s.metrics.grounding_shares(table) for table in own], index=texts.index)
    return {name: texts.join(shares), "claims": claims, "params": {}}


@pytest.fixture
def told(any_data):
    any_data.adata.uns["c2s_summary"] = result("summaries")
    any_data.adata.uns["c2s_answer"] = result("answers", question="What are these cells?")
    return any_data


def plot(told, **options):
    return c2s.pl.summary(told.data, show=False, **told.where, **options)


def words(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def look(ax, word: str) -> tuple[str, str]:
    text = next(text for text in ax.texts if text.get_text() == word)
    return to_hex(text.get_color()).upper(), text.get_fontweight()


def test_all_words_in_order(told):
    shown = words(plot(told))
    body = "".join(shown)
    for group, text in TEXTS.items():
        assert "".join(text.split()) in body
        assert group.split()[0] in shown
    assert body.index("Mostly") < body.index("$5") < body.index("Nothing")
    assert "(12cells)" in body


def test_claims_by_their_verdict(told):
    ax = plot(told, groups="T cells")
    blue = [text for text in ax.texts if to_hex(text.get_color()).upper() == BLUE]
    assert [text.get_text() for text in blue][:3] == ["Mostly", "T", "cells"]
    assert {text.get_fontweight() for text in blue} == {"bold"}
    assert look(ax, "CD3D") == (RED, "bold")
    assert look(ax, "XYZ1") == (GREY, "normal")
    assert look(ax, "express")[1] == "normal"
    assert look(ax, "express") == look(ax, ",") == look(ax, "MS4A1.")


def test_verdicts_can_be_told_without_colour(told):
    """A line goes through what is contradicted and under what is not checkable, also in the legend."""
    ax = plot(told, groups="T cells")
    ax.figure.canvas.draw()
    for colour, word, through in [(RED, "CD3D", True), (GREY, "XYZ1", False)]:
        box = next(text for text in ax.texts if text.get_text() == word).get_window_extent()
        of_colour = [line for line in ax.lines if to_hex(line.get_color()).upper() == colour]
        assert len(of_colour) == 2
        (x0, y), (x1, _) = ax.transData.transform(of_colour[0].get_xydata())
        assert x0 == pytest.approx(box.x0, abs=2)
        assert x1 == pytest.approx(box.x1, abs=3)
        assert (box.y0 + 3 < y < box.y1) if through else (y < box.y0 + 3)
    assert not [line for line in ax.lines if to_hex(line.get_color()).upper() == BLUE]


def test_the_line_goes_on_between_words(told):
    assert len(plot(told, groups="B / plasma").lines) == 1 + 2, "one for B cells, two in the legend"


def test_shares_beside_the_text(told):
    ax = plot(told, groups="T cells")
    assert {"3 claims", "33 % confirmed", "33 % contradicted", "33 % not checkable"} <= set(words(ax))
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [11 / 3] * 3)
    ax = plot(told, groups="3")
    assert "no claims" in words(ax)
    assert list(ax.patches) == []
    assert {"1 claim", "100 % contradicted"} <= set(words(plot(told, groups="B / plasma")))


def test_chosen_groups_in_order(told):
    body = "".join(words(plot(told, groups=["3", "T cells"])))
    assert body.index("Nothing") < body.index("Mostly")
    assert "$5" not in body
    with pytest.raises(KeyError, match="no text about 'nonsense'"):
        plot(told, groups=["nonsense"])


def test_answers_have_their_question_as_heading(told):
    shown = words(plot(told, key="c2s_answer"))
    assert "".join(shown).startswith("Whatarethesecells?Tcells")
    assert shown.count("What") == 1, "the same question is not repeated"


def check_layout(ax) -> None:
    """No word is outside the axes or upon another one."""
    ax.figure.canvas.draw()
    room = ax.get_window_extent()
    boxes = [text.get_window_extent() for text in ax.texts]
    for box in boxes:
        assert room.x0 - 1 <= box.x0 < box.x1 <= room.x1 + 1
        assert room.y0 - 1 <= box.y0 < box.y1 <= room.y1 + 1
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            across = min(a.x1, b.x1) - max(a.x0, b.x0)
            assert across <= 1.5 or min(a.y1, b.y1) - max(a.y0, b.y0) <= 4


@pytest.mark.parametrize("width", [5, 9])
def test_layout(told, width):
    ax = plot(told, width=width)
    assert ax.figure.get_figwidth() == width
    check_layout(ax)


def test_layout_on_given_axes(told):
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(1, 2, figsize=(14, 4))
    ax = plot(told, ax=axes[1])
    assert ax is axes[1]
    check_layout(ax)


def test_a_longer_text_makes_a_higher_figure(told):
    short = plot(told, groups="T cells").figure.get_figheight()
    assert plot(told, groups="B / plasma").figure.get_figheight() > short


def test_a_text_that_is_missing(told):
    told.adata.uns["c2s_summary"]["summaries"]["text"] = ["", np.nan, " "]
    told.adata.uns["c2s_summary"]["claims"] = told.adata.uns["c2s_summary"]["claims"][:0]
    assert "".join(words(plot(told))).count("(notext)") == 3


def test_results_that_were_saved(told, tmp_path):
    import anndata

    told.adata.write_h5ad(tmp_path / "cells.h5ad")
    saved = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert words(c2s.pl.summary(saved, show=False)) == words(plot(told))


def test_bad_input(told):
    with pytest.raises(KeyError, match="tl.summarize"):
        plot(told, key="nonsense")
    told.adata.uns["other"] = {"params": {}}
    with pytest.raises(KeyError, match="holds no summaries"):
        plot(told, key="other")
