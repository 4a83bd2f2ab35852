"""Predicted cells as an AnnData."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from sc_c2s import _keys
from sc_c2s.data import open_results

from ._beside import stored_beside

if TYPE_CHECKING:
    from mudata import MuData


def perturbed(data: AnnData | MuData, *, key: str = _keys.PERTURBED, mod: str | None = None) -> AnnData:
    """Give what control cells are predicted to become, as cells of their own.

    Parameters
    ----------
    data
        Cells whose perturbation :func:`sc_c2s.tl.perturb` predicted.
    key
        Name of the prediction (its ``key_added``).
    mod
        Modality, where ``data`` is a MuData.

    Returns
    -------
    A cell for each predicted one, under its name, with

    `X`
        Predicted expression in the units that ``uns[key]["space"]`` names, float32, dense.
    `obs`
        The columns of the control cell, with the name of the perturbation in the column of the perturbations, and the
        predicted sentence.
    `var_names`
        The genes at hand that were predicted, in the order at hand.
    `uns[key]`
        ``"space"``, ``"perturbation"`` and ``"params"``.
    """
    adata = open_results(data, mod).adata
    values, at_hand, columns = stored_beside(adata, key, what="predicted", tool="tl.perturb")
    made = adata.obs[_keys.sentence(key)].notna().to_numpy()
    if not made.any():
        raise ValueError(
            f"For none of these {adata.n_obs} cells was anything predicted; keep others, or run tl.perturb."
        )
    stored = adata.uns[key]
    params = deepcopy(dict(stored.get("params", {})))
    obs = adata.obs[made].copy()
    obs[params["condition_key"]] = pd.Categorical([stored["perturbation"]] * len(obs))
    return AnnData(
        np.asarray(values, dtype=np.float32)[made][:, columns],
        obs=obs,
        var=pd.DataFrame(index=at_hand),
        uns={key: {"space": str(stored["space"]), "perturbation": str(stored["perturbation"]), "params": params}},
    )
