"""Generated cells as an AnnData."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from sc_c2s import _keys
from sc_c2s.data import open_results

if TYPE_CHECKING:
    from mudata import MuData


def generated(data: AnnData | MuData, *, key: str = _keys.GENERATED, mod: str | None = None) -> AnnData:
    """Give the generated cells that are stored beside real ones, as cells of their own.

    Parameters
    ----------
    data
        Cells for which :func:`sc_c2s.tl.generate` made others of the same condition.
    key
        Name of the generated cells (their ``key_added``).
    mod
        Modality, where ``data`` is a MuData.

    Returns
    -------
    A cell for each real one for which a cell was generated, under its name, with

    `X`
        Expression in the units that ``uns[key]["space"]`` names, float32.
    `obs`
        The columns of the real cell, of which the conditions hold for the generated one, and its sentence.
    `var_names`
        The genes at hand that were generated, in the order at hand.
    `uns[key]`
        ``"space"`` and ``"params"``.
    """
    adata = open_results(data, mod).adata
    column = _keys.sentence(key)
    absent = [
        f"{where}[{name!r}]"
        for where, name, there in (("obsm", key, adata.obsm), ("obs", column, adata.obs), ("uns", key, adata.uns))
        if name not in there
    ]
    if absent:
        raise KeyError(
            f"There are no generated cells {key!r} here ({', '.join(absent)} missing); "
            "run tl.generate, or name their `key=`."
        )
    stored, values = adata.uns[key], adata.obsm[key]
    names = pd.Index(np.asarray(stored["var_names"], dtype=object))
    if values.shape[1] != len(names):
        raise ValueError(
            f"obsm[{key!r}] has {values.shape[1]} columns and uns[{key!r}]['var_names'] names {len(names)}; "
            "run tl.generate again."
        )
    params = stored.get("params", {})
    at_hand = _genes_at_hand(adata, names, params.get("gene_symbols"))
    if not len(at_hand):
        raise ValueError(
            f"None of the {adata.n_vars} genes at hand was generated: keep some of uns[{key!r}]['var_names'] "
            f"(such as {names[0]}), or run tl.generate again."
        )
    made = adata.obs[column].notna().to_numpy()
    if not made.any():
        raise ValueError(
            f"For none of these {adata.n_obs} cells was a cell generated; keep others, or run tl.generate."
        )
    x = sparse.csr_matrix(values, dtype=np.float32)[made][:, names.get_indexer(at_hand)]
    return AnnData(
        x,
        obs=adata.obs[made].copy(),
        var=pd.DataFrame(index=at_hand),
        uns={key: {"space": str(stored["space"]), "params": deepcopy(dict(params))}},
    )


def _genes_at_hand(adata: AnnData, names: pd.Index, gene_symbols: str | None) -> pd.Index:
    """Genes of the object that were generated; where `var_names` are ids, those may be known by their symbols."""
    at_hand = pd.Index(adata.var_names.to_numpy(dtype=object))
    if gene_symbols in adata.var and not at_hand.isin(names).any():
        at_hand = pd.Index(adata.var[gene_symbols].to_numpy(dtype=object))
    return at_hand[at_hand.isin(names)]
