from __future__ import annotations

import pandas as pd
import pytest

from sc_c2s.metrics import GroupFacts, grounding_score

GENES = pd.DataFrame(
    {"share": [0.9, 0.8, 0.9, 0.02], "log_fold_change": [2.0, 1.0, -1.0, -2.0]}, index=["CD79A", "MS4A1", "ACTB", "LYZ"]
)
SHARES = pd.Series([0.75, 0.25, 0.0], index=["B cells", "Monocytes", "NK cells"])
FACTS = GroupFacts(40, GENES, SHARES, {"tissue": {"blood": 1.0, "spleen": 0.0}})
BARE = GroupFacts(40, GENES, None, {})


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("", 0.0),
        # One right claim, two missing ones.
        ("CD79A is high.", (1 + (1 - 2) / 3) / 2),
        ("CD79A is high, LYZ is low.", (1 + (2 - 1) / 3) / 2),
        ("CD79A is high, MS4A1 is high, LYZ is low.", 1.0),
        # A wrong one costs as much as a right one brings, and as much as saying nothing.
        ("CD79A is high, MS4A1 is high, LYZ is high.", (1 + (2 - 1) / 3) / 2),
        ("CD79A is high, MS4A1 is high, LYZ is low, ACTB is high.", (1 + (3 - 1) / 4) / 2),
        ("CD79A is low, MS4A1 is low, LYZ is high.", 0.0),
        # What the cells show is no claim, unless it is wrong.
        ("CD79A MS4A1 ACTB", 0.0),
        ("CD79A is high, MS4A1 is high, LYZ is low. They express ACTB.", 1.0),
        ("CD79A is high, MS4A1 is high, ACTB is low. They express LYZ.", (1 + (3 - 1) / 4) / 2),
        # Claims that cannot be checked count half.
        ("CD900 is high, CD901 is high, CD902 is high.", 0.5),
        ("CD79A is high. " * 5, (1 + (1 - 2) / 3) / 2),
    ],
)
def test_claims(text, score):
    assert grounding_score(text, BARE) == pytest.approx(score)
    assert grounding_score(text, FACTS, composition=0) == pytest.approx(score)


def test_the_composition_is_weighed():
    text = "75% B cells and 25% monocytes; CD79A is high."
    assert grounding_score(text, FACTS) == pytest.approx(1)
    wrong = "25% B cells and 75% monocytes; CD79A is high."
    claimed = (1 + (1 - 2) / 3) / 2
    assert grounding_score(wrong, FACTS, composition=0.0) == pytest.approx(claimed)
    assert grounding_score(wrong, FACTS, composition=1.0) == pytest.approx(0.5)
    assert grounding_score(wrong, FACTS, composition=0.3) == pytest.approx(0.7 * claimed + 0.3 * 0.5)


def test_what_is_out_of_range():
    with pytest.raises(ValueError, match="least=0"):
        grounding_score("", FACTS, least=0)
    with pytest.raises(ValueError, match="composition=2"):
        grounding_score("", FACTS, composition=2)
