"""The door for those who read results only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sc_c2s.data import Cells, _modality

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


def open_results(data: AnnData | MuData, mod: str | None) -> Cells:
    """Open cells without their matrix, so that neither it nor the names of the genes matter."""
    adata, mod = _modality(data, mod)
    return Cells(adata, adata.var_names.to_numpy(), {"mod": mod}, None, data, False, None, None, None)
