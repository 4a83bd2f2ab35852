from __future__ import annotations

import math
from importlib import import_module

import pandas as pd
import pytest

from sc_c2s.metrics import GroupFacts, summaries

FACTS = GroupFacts(
    n_cells=10,
    genes=pd.DataFrame(
        {
            "share": [0.9, 0.0],
            "share_rest": [0.1, 0.5],
            "mean": [2.0, 0.0],
            "mean_rest": [0.1, 1.0],
            "log_fold_change": [3.0, -3.0],
        },
        index=["MS4A1", "LYZ"],
    ),
    composition=pd.Series({"B cell": 0.8, "T cell": 0.2}),
    context={},
)


def test_texts_are_scored_together() -> None:
    scores = summaries(["80% B cells and 20% T cells.", "They express MS4A1.", "They express LYZ."], [FACTS] * 3)
    first = summaries(["80% B cells and 20% T cells."], [FACTS])
    assert (first["confirmed"], first["contradicted"], first["composition_error"]) == (1, 0, 0)
    n = first["n_claims"] + 2
    assert scores["n_claims"] == pytest.approx(n / 3)
    assert scores["confirmed"] == pytest.approx((n - 1) / n), "shares are of all claims together"
    assert scores["contradicted"] == pytest.approx(1 / n)
    assert scores["not_checkable"] == 0
    assert scores["composition_error"] == pytest.approx(2 / 3)
    nothing = summaries(["Nothing to see."], [FACTS])
    assert nothing["n_claims"] == 0
    assert math.isnan(nothing["confirmed"])


def test_references_add_how_near_the_texts_are(monkeypatch) -> None:
    seen = []

    def score(candidates, references, *, model):
        seen.append((list(candidates), list(references), model))
        return pd.DataFrame({"f1": [0.5, 1.0]})

    monkeypatch.setattr(import_module("sc_c2s.metrics.summaries"), "bert_score", score)
    found = summaries(["a", "b"], [FACTS] * 2, references=["c", "d"], model="encoder")
    assert found["bert_score"] == 0.75
    assert seen == [(["a", "b"], ["c", "d"], "encoder")]


def test_further_names_are_understood() -> None:
    assert summaries(["80% lymphoblasts."], [FACTS])["confirmed"] != 1
    assert summaries(["80% lymphoblasts."], [FACTS], names={"B cell": ["lymphoblast"]})["confirmed"] == 1


@pytest.mark.parametrize(("texts", "facts"), [([], []), (["a"], [])])
def test_as_many_facts_as_texts(texts, facts) -> None:
    with pytest.raises(ValueError, match="as many of each"):
        summaries(texts, facts)
