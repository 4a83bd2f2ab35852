from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sc_c2s.metrics import GroupFacts, composition_error
from sc_c2s.prompts.describe import composition_phrase

LABELS = ("CD4 T cells", "CD8 T cells", "B cells", "NK cells", "Monocytes")


def facts(*shares: float) -> GroupFacts:
    genes = pd.DataFrame({"share": [1.0], "log_fold_change": [0.0]}, index=["ACTB"])
    return GroupFacts(10, genes, pd.Series(shares, index=list(LABELS[: len(shares)])), {})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("60% CD4 T cells, 0% CD8 T cells and 40% B cells.", 0.0),
        ("50% CD4 T cells and 50% B cells.", 0.1),
        # 40 points too many of one, and all of the other missing.
        ("100% CD4 T cells.", 0.4),
        # What is not told of is something else.
        ("60% CD4 T cells.", 0.4),
        ("They are cells.", 1.0),
        ("", 1.0),
        ("100% NK cells.", 1.0),
        # A name of two labels is compared with their sum.
        ("60% T cells and 40% B cells.", 0.0),
        # More than half, three quarters in the middle; the rest open.
        ("Mostly CD4 T cells.", (0.15 + 0.4 + 0.25) / 2),
        # The first share of a type counts.
        ("60% CD4 T cells, 40% B cells, 90% CD4 T cells.", 0.0),
        # More than all cells: no worse than all wrong.
        ("100% CD4 T cells, 100% B cells, 100% CD8 T cells, 100% NK cells.", 1.0),
    ],
)
def test_known_answers(text, error):
    assert composition_error(text, facts(0.6, 0.0, 0.4)) == pytest.approx(error)


@given(st.lists(st.floats(0.01, 1), min_size=5, max_size=5))
def test_the_composition_as_it_is_has_next_to_no_error(parts):
    shares = np.array(parts) / sum(parts)
    said = composition_phrase(dict(zip(LABELS, shares, strict=True)))
    # Rounding to whole per cents, and what is left out below four.
    hidden = sum(share for share in shares if share < 0.04)
    assert composition_error(said, facts(*shares)) <= hidden + 0.026


def test_cells_without_labels_have_no_composition():
    blank = facts(0.6, 0.0, 0.4)
    nothing = GroupFacts(blank.n_cells, blank.genes, None, {})
    assert np.isnan(composition_error("60% B cells", nothing))
