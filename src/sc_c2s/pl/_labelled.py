"""True and predicted labels of the cells that a plot is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from sc_c2s import _keys
from sc_c2s.data import open_results

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


def cells_of_split(
    data: AnnData | MuData, *, groupby: str, split: str | None, mod: str | None
) -> tuple[AnnData, pd.Series]:
    """Find the cells of a split that have a true label.

    Returns
    -------
    The AnnData that holds the results, and the true labels of those cells under their names.
    """
    cells = open_results(data, mod)
    adata, truth = cells.adata, cells.labels(groupby)
    chosen = truth.notna()
    if split is not None and _keys.SPLIT in adata.obs:
        of_split = adata.obs[_keys.SPLIT].astype(object)
        chosen &= of_split == split
        if not chosen.any():
            there = ", ".join(repr(name) for name in sorted(of_split.dropna().unique()))
            raise ValueError(
                f"No labelled cell belongs to split {split!r} (obs[{_keys.SPLIT!r}] holds {there or 'nothing'}); "
                "choose another `split=`, or None for all cells."
            )
    if not chosen.any():
        raise ValueError(f"No cell has a label in obs[{groupby!r}].")
    return adata, truth[chosen]
