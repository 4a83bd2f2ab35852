"""Texts about groups of cells, and their claims, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sc_c2s import _keys
from sc_c2s.data import open_results

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

_TEXTS = ("summaries", "answers")


def summary(data: AnnData | MuData, *, key: str = _keys.SUMMARY, mod: str | None = None) -> pd.DataFrame:
    """Texts about groups of cells as one table.

    Parameters
    ----------
    data
        Cells described by :func:`sc_c2s.tl.summarize`, or asked about by :func:`sc_c2s.tl.ask`.
    key
        Name of the result (its ``key_added``); that of :func:`~sc_c2s.tl.ask` is ``"c2s_answer"``.
    mod
        Modality, where ``data`` is a MuData.

    Returns
    -------
    A row a group, with the columns

    `question`
        What was asked, for an answer.
    `text`
        The text.
    `n_cells`, `n_genes`
        Cells that the model was shown, and most genes of each.
    `n_members`
        Cells of the group.
    `n_claims`
        Claims in the text.
    `confirmed`, `contradicted`, `not_checkable`
        Shares of them; NaN where there is none.
    `proba_<choice>`
        Probability of every answer, where the model had to choose.

    Raises
    ------
    KeyError
        If there is no such result.
    ValueError
        If the probabilities are not those of the choices.
    """
    found = _stored(data, key, mod)
    table = found[next(name for name in _TEXTS if name in found)].copy()
    if "proba" not in found:
        return table
    choices, proba = [str(one) for one in np.asarray(found["choices"])], np.asarray(found["proba"])
    if proba.shape != (len(table), len(choices)):
        raise ValueError(
            f"uns[{key!r}] has probabilities of {' × '.join(map(str, proba.shape))} answers, and holds {len(table)} groups and "
            f"{len(choices)} choices; run tl.ask again."
        )
    each = pd.DataFrame(proba, index=table.index, columns=[f"proba_{choice}" for choice in choices])
    return pd.concat([table, each], axis=1)


def claims(data: AnnData | MuData, *, key: str = _keys.SUMMARY, mod: str | None = None) -> pd.DataFrame:
    """Claims of the texts about groups of cells, and what the data say of each.

    Parameters
    ----------
    data
        Cells described by :func:`sc_c2s.tl.summarize`, or asked about by :func:`sc_c2s.tl.ask`.
    key
        Name of the result (its ``key_added``); that of :func:`~sc_c2s.tl.ask` is ``"c2s_answer"``.
    mod
        Modality, where ``data`` is a MuData.

    Returns
    -------
    A row a claim, group by group and in the order of the text, with the columns

    `group`
        The group.
    `start`, `end`, `words`
        Where the claim stands in the text, in characters, and what stands there.
    `kind`
        ``"gene"``, ``"cell type"``, ``"proportion"``, ``"direction"`` or ``"context"``.
    `said`, `found`
        What is claimed, and what the data say.
    `verdict`
        ``"confirmed"``, ``"contradicted"`` or ``"not checkable"``, see :func:`sc_c2s.metrics.grounding`.

    Raises
    ------
    KeyError
        If there is no such result.
    """
    return _stored(data, key, mod)["claims"].copy()


def _stored(data: AnnData | MuData, key: str, mod: str | None) -> dict[str, pd.DataFrame]:
    uns = open_results(data, mod).adata.uns
    if key not in uns:
        raise KeyError(f"uns has no texts {key!r}; run tl.summarize or tl.ask first, or name the result with `key=`.")
    found = uns[key]
    if "claims" not in found or not any(name in found for name in _TEXTS):
        raise KeyError(
            f"uns[{key!r}] holds no summaries or answers with their claims; name another result with `key=`."
        )
    return found
