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

from ._beside import stored_beside

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
    values, at_hand, columns = stored_beside(adata, key, what="generated", tool="tl.generate")
    made = adata.obs[_keys.sentence(key)].notna().to_numpy()
    if not made.any():
        raise ValueError(
            f"For none of these {adata.n_obs} cells was a cell generated; keep others, or run tl.generate."
        )
    stored = adata.uns[key]
    return AnnData(
        sparse.csr_matrix(values, dtype=np.float32)[made][:, columns],
        obs=adata.obs[made].copy(),
        var=pd.DataFrame(index=at_hand),
        uns={key: {"space": str(stored["space"]), "params": deepcopy(dict(stored.get("params", {})))}},
    )
