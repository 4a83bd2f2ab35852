"""What was written beside cells, as wide as the genes of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from sc_c2s import _keys


def stored_beside(adata: AnnData, key: str, *, what: str, tool: str) -> tuple[Any, pd.Index, np.ndarray]:
    """Find an array that stands beside cells, and its columns for the genes at hand.

    Parameters
    ----------
    adata
        The cells.
    key
        Name of the array.
    what
        What the array holds, for errors: ``"generated"``.
    tool
        What makes it.

    Returns
    -------
    The array (cells × genes of the model), the genes at hand that it has, in the order at hand, and their columns.
    """
    column = _keys.sentence(key)
    absent = [
        f"{where}[{name!r}]"
        for where, name, there in (("obsm", key, adata.obsm), ("obs", column, adata.obs), ("uns", key, adata.uns))
        if name not in there
    ]
    if absent:
        raise KeyError(
            f"There are no {what} cells {key!r} here ({', '.join(absent)} missing); run {tool}, or name their `key=`."
        )
    stored, values = adata.uns[key], adata.obsm[key]
    names = pd.Index(np.asarray(stored["var_names"], dtype=object))
    if values.shape[1] != len(names):
        raise ValueError(
            f"obsm[{key!r}] has {values.shape[1]} columns and uns[{key!r}]['var_names'] names {len(names)}; "
            f"run {tool} again."
        )
    at_hand = _genes_at_hand(adata, names, stored.get("params", {}).get("gene_symbols"))
    if not len(at_hand):
        raise ValueError(
            f"None of the {adata.n_vars} genes at hand was {what}: keep some of uns[{key!r}]['var_names'] "
            f"(such as {names[0]}), or run {tool} again."
        )
    return values, at_hand, names.get_indexer(at_hand)


def _genes_at_hand(adata: AnnData, names: pd.Index, gene_symbols: str | None) -> pd.Index:
    """Genes of the object that the array has; where `var_names` are ids, those may be known by their symbols."""
    at_hand = pd.Index(adata.var_names.to_numpy(dtype=object))
    if gene_symbols in adata.var and not at_hand.isin(names).any():
        at_hand = pd.Index(adata.var[gene_symbols].to_numpy(dtype=object))
    return at_hand[at_hand.isin(names)]
