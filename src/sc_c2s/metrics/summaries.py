"""Texts about groups of cells, scored together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .cell_names import CellOntology
from .composition import composition_error
from .facts import GroupFacts
from .grounding import grounding, grounding_shares
from .grounding_score import grounding_score
from .text import bert_score


def summaries(
    texts: Sequence[str],
    facts: Sequence[GroupFacts],
    *,
    references: Sequence[str] | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
    ontology: CellOntology | None = None,
    model: str | Path | tuple[Any, Any] | None = None,
) -> dict[str, float]:
    """Score texts by the facts of their groups, and by other texts.

    Parameters
    ----------
    texts
        The texts.
    facts
        Facts of the group of each, by :func:`sc_c2s.metrics.facts_of_groups`.
    references
        The text that each should be, such as a template that is filled in from the facts.
    names, ontology
        As of :func:`sc_c2s.metrics.grounding`.
    model
        Encoder of :func:`sc_c2s.metrics.bert_score`.

    Returns
    -------
    ``n_claims``, claims in a text; the share of all claims together that is ``confirmed``, ``contradicted`` and ``not_checkable``
    (:func:`sc_c2s.metrics.grounding`); the means of the ``composition_error`` (:func:`sc_c2s.metrics.composition_error`) and of
    ``grounding`` (:func:`sc_c2s.metrics.grounding_score`); with references also the mean ``bert_score`` (F1).
    """
    if len(texts) != len(facts) or not len(texts):
        raise ValueError(f"There are {len(texts)} texts and {len(facts)} facts: give one or more, and as many of each.")
    how: dict[str, Any] = {"names": names, "ontology": ontology}
    pairs = list(zip(texts, facts, strict=True))
    scores = grounding_shares(pd.concat([grounding(text, one, **how) for text, one in pairs], ignore_index=True))
    scores["n_claims"] /= len(texts)
    scores["composition_error"] = float(np.mean([composition_error(text, one, **how) for text, one in pairs]))
    scores["grounding"] = float(np.mean([grounding_score(text, one, **how) for text, one in pairs]))
    if references is not None:
        scores["bert_score"] = float(bert_score(texts, references, model=model)["f1"].mean())
    return scores
