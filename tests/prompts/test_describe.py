from __future__ import annotations

import numpy as np
import pytest

from sc_c2s.prompts import describe
from sc_c2s.prompts.describe import composition_phrase, listed

COMPOSITION = {"CD4 T cells": 0.621, "B cells": 0.3, "NK cells": 0.05, "Mk": 0.029}
CONTEXT = {"condition": {"stim": 1.0, "ctrl": 0.0}, "donor": {"a": 0.75, "b": 0.25}}


def test_the_template_says_what_it_was_given():
    text = describe(COMPOSITION, ["IL7R", "LTB"], CONTEXT, organism="human")
    assert text == (
        "These human cells are 62% CD4 T cells, 30% B cells and 5% NK cells. "
        "Compared with other cells, IL7R and LTB are higher. "
        "The condition is stim. "
        "The donor is mixed: a (75%) and b (25%)."
    )
    assert describe(COMPOSITION, ["IL7R"], CONTEXT, style="caption") == (
        "A group of cells: 62% CD4 T cells, 30% B cells and 5% NK cells, with IL7R elevated."
    )


def test_nothing_known_is_nothing_said():
    assert describe(None, [], {}) == ""
    assert describe(None, ["IL7R"], {}) == "Compared with other cells, IL7R is higher."


@pytest.mark.parametrize("seed", range(20))
def test_every_wording_says_the_same(seed):
    text = describe(COMPOSITION, ["IL7R", "LTB"], CONTEXT, rng=np.random.default_rng(seed))
    for said in ("62% CD4 T cells, 30% B cells and 5% NK cells", "IL7R and LTB", "condition", "stim", "a (75%)"):
        assert said in text
    assert "ctrl" not in text
    assert "{" not in text


def test_wordings_differ_by_the_seed():
    texts = {describe(COMPOSITION, ["IL7R"], CONTEXT, rng=np.random.default_rng(seed)) for seed in range(40)}
    assert len(texts) > 6


def test_a_group_of_rare_types_alone_names_the_largest():
    assert composition_phrase({str(i): 1 / 30 for i in range(30)}) == "3% 0"


def test_lists():
    assert [listed([]), listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
