"""Annotation as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sc_c2s import _keys
from sc_c2s.data import open_results

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


def annotation(data: AnnData | MuData, *, key: str = _keys.CELL_TYPE, mod: str | None = None) -> pd.DataFrame:
    """Predicted labels and probabilities as one table.

    Parameters
    ----------
    data
        Cells annotated by :func:`sc_c2s.tl.annotate`.
    key
        Name of the annotation (its ``key_added``).
    mod
        Modality, where ``data`` is a MuData.

    Returns
    -------
    A row a cell, with the columns

    `label`
        Predicted label, categorical.
    `confidence`
        Probability of the likeliest label.
    `runner_up`, `runner_up_proba`
        Second likeliest label and its probability.
    `proba_<label>`
        Probability of every label, in the model's order.

    Cells that could not be annotated hold missing values.
    """
    adata = open_results(data, mod).adata
    column, proba = _keys.confidence(key), _keys.proba(key)
    absent = [
        f"{where}[{name!r}]"
        for where, name, there in (("obs", key, adata.obs), ("obsm", proba, adata.obsm), ("uns", key, adata.uns))
        if name not in there
    ]
    if absent:
        raise KeyError(
            f"There is no annotation {key!r} here ({', '.join(absent)} missing); run tl.annotate, or name its `key=`."
        )
    labels = [str(label) for label in np.asarray(adata.uns[key]["labels"])]
    values = np.asarray(adata.obsm[proba], dtype=np.float32)
    if values.shape[1] != len(labels):
        raise ValueError(
            f"obsm[{proba!r}] has {values.shape[1]} columns and uns[{key!r}]['labels'] names {len(labels)}; "
            "run tl.annotate again."
        )
    second, of_second = _runner_up(values, labels)
    highest = adata.obs[column].to_numpy(np.float32) if column in adata.obs else values.max(axis=1)
    table = pd.DataFrame(
        {
            "label": _categorical(adata.obs[key], labels),
            "confidence": highest,
            "runner_up": second,
            "runner_up_proba": of_second,
        },
        index=adata.obs_names,
    )
    each = pd.DataFrame(values, index=adata.obs_names, columns=[f"proba_{label}" for label in labels])
    return pd.concat([table, each], axis=1)


def _categorical(column: pd.Series, labels: list[str]) -> pd.Categorical:
    """Labels as a categorical again, should a file have turned them into strings."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.array
    text = column.astype(object).where(column.notna(), None)
    others = sorted({str(x) for x in text.dropna()} - set(labels))
    return pd.Categorical(text, categories=[*labels, *others])


def _runner_up(values: np.ndarray, labels: list[str]) -> tuple[pd.Categorical, np.ndarray]:
    missing = np.isnan(values).any(axis=1)
    if len(labels) < 2:
        missing[:] = True
        position = np.zeros(len(values), dtype=np.intp)
    else:
        position = np.argsort(-values, axis=1, kind="stable")[:, 1]
    proba = values[np.arange(len(values)), position].copy()
    proba[missing] = np.nan
    names = [None if gone else labels[i] for gone, i in zip(missing, position, strict=True)]
    return pd.Categorical(names, categories=labels), proba
