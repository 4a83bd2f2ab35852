"""The space that sets of cells are compared in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from anndata import AnnData

N_FOR_BANDWIDTH = 2000
"""Cells whose median distance sets the width of a kernel."""

Embed = Callable[["AnnData"], ArrayLike]


def as_embedding(embedding: str | Embed, spare: AnnData, n_comps: int) -> Embed:
    """Make a function of what a user asked for.

    Parameters
    ----------
    embedding
        ``"pca"``, the name of an array in `obsm`, or a function already.
    spare
        Cells that principal components are fitted to.
    n_comps
        Number of these, at most one less than there are genes or cells.

    Returns
    -------
    A function that gives a row for each cell of an AnnData.
    """
    if callable(embedding):
        return embedding
    if not isinstance(embedding, str):
        raise TypeError(
            "embedding takes 'pca', a name in obsm or a function of an AnnData; write your array to obsm of all objects."
        )
    if embedding != "pca":

        def stored(adata: AnnData) -> ArrayLike:
            if embedding not in adata.obsm:
                raise KeyError(
                    f"obsm has no {embedding!r} in one of the objects: write it to all of them, or use 'pca'."
                )
            return adata.obsm[embedding]

        return stored

    from sklearn.decomposition import PCA

    # Of spare cells, as components fit the cells that they were made from better than any others, whoever made those.
    fitted = PCA(min(n_comps, *np.subtract(spare.shape, 1)), svd_solver="arpack", random_state=0).fit(spare.X)
    return lambda adata: fitted.transform(adata.X)


def points_of(embed: Embed, cells: AnnData, name: str) -> NDArray[np.float64]:
    """Place cells in the space; ``name`` is what errors call them.

    Returns
    -------
    Cells × dimensions, all finite.
    """
    found: Any = embed(cells)
    points = np.asarray(found.toarray() if sp.issparse(found) else found, dtype=np.float64)
    if points.ndim != 2 or len(points) != cells.n_obs:
        raise ValueError(
            f"The embedding gave an array of shape {points.shape} for {cells.n_obs} cells: return a row a cell."
        )
    if not np.isfinite(points).all():
        raise ValueError(f"The embedding of the set {name!r} holds NaN or infinite values; leave these cells out.")
    return points


def embedding_name(embedding: str | Embed, space: NDArray[np.float64]) -> str:
    """Name the space and the number of its dimensions."""
    name = embedding if isinstance(embedding, str) else getattr(embedding, "__name__", type(embedding).__name__)
    return f"{name} ({space.shape[1]})"
