"""Real and generated cells in one embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from sc_c2s import _keys

from ._axes import despine, hand_over, open_panels
from ._pair import Pair, open_pair
from ._palette import Palette, legend_of, legend_width

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

_BEHIND = "#dcdcdc"  # real cells under the generated ones


def generated_embedding(
    data: AnnData | MuData,
    *,
    groupby: str | Sequence[str],
    generated: AnnData | None = None,
    basis: Literal["pca", "umap"] = "pca",
    n_comps: int = 50,
    key: str = _keys.GENERATED,
    layer: str | None = None,
    use_raw: bool = False,
    gene_symbols: str | None = None,
    mod: str | None = None,
    palette: Palette | None = None,
    size: float | None = None,
    rng: int = 0,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> list[Axes] | Figure | None:
    """Plot real and generated cells in one embedding, side by side.

    The left panel shows the real cells, the right one the generated cells on top of the real ones (light grey), on the
    same axes. Principal components are those of the real cells in log1p counts per 10,000, into which the generated
    cells are projected; the UMAP is one of both together, on these components.

    Parameters
    ----------
    data
        Real cells: counts, which are brought to log1p counts per 10,000, or values on that scale.
    groupby
        Column of ``obs`` with the conditions, or several columns, whose combinations are the conditions. Cells without
        one are left out.
    generated
        Generated cells. By default those that :func:`sc_c2s.tl.generate` stored beside the real ones.
    basis
        ``"pca"`` for the first two principal components, or ``"umap"``.
    n_comps
        Number of principal components under the UMAP.
    key
        Name of the stored generated cells (their ``key_added``).
    layer
        Layer with the real cells' expression, in place of ``X``.
    use_raw
        Read it from ``raw.X``.
    gene_symbols
        Column of ``var`` with the gene names, where ``var_names`` are ids.
    mod
        Modality, where ``data`` is a MuData.
    palette
        Colours of the conditions: a colour map, a list, or a mapping from conditions. By default those that scanpy
        stored in ``uns``, or its palette.
    size
        Area of a dot in square points.
    rng
        Seed of components, UMAP and the order in which dots are drawn.
    ax
        Two axes to draw on.
    show
        Show the plot. By default as scanpy's settings say, unless ``ax`` is given.
    return_fig
        Return the figure.

    Returns
    -------
    The two axes if ``show=False``, the figure if ``return_fig=True``, else None.
    """
    if basis not in ("pca", "umap"):
        raise ValueError(f"basis must be 'pca' or 'umap', not {basis!r}.")
    pair = open_pair(
        data,
        generated,
        groupby=groupby,
        key=key,
        mod=mod,
        layer=layer,
        use_raw=use_raw,
        gene_symbols=gene_symbols,
        palette=palette,
    )
    real, other, labels = _components(pair, n_comps, rng)
    if basis == "umap":
        (real, other), labels = _umap(real, other, rng), ("UMAP1", "UMAP2")

    names = pair.colours | {"real": _BEHIND}
    margin = (legend_width(names), 0)
    given, axes = ax, open_panels(ax, 2, ncols=2, size=(4, 4.2), margin=margin, sharex=True, sharey=True)
    size = min(120_000 / (len(real) + len(other)), 40) if size is None else size
    sides = (("real", real, pair.real.conditions), ("generated", other, pair.generated.conditions))
    for panel, (title, places, conditions) in zip(axes, sides, strict=True):
        if places is other:
            _dots(panel, real, np.full(len(real), _BEHIND), size, rng)
        _dots(panel, places, np.array([pair.colours[name] for name in conditions]), size, rng)
        panel.set_title(f"{title} ({len(places):,} cells)", fontsize="medium")
        panel.set(xticks=[], yticks=[], xlabel=labels[0], ylabel=labels[1])
        despine(panel)
    _same_limits(axes, np.concatenate([real[:, :2], other[:, :2]]))
    legend_of(axes[1], names)
    return hand_over(axes, given=given, show=show, return_fig=return_fig)


def _components(pair: Pair, n_comps: int, rng: int) -> tuple[np.ndarray, np.ndarray, tuple[str, str]]:
    """Principal components of the real cells, and the generated cells' places on them."""
    import scanpy as sc
    from anndata import AnnData

    x = pair.real.x
    n_comps = min(n_comps, min(x.shape) - 1)
    if n_comps < 2:
        raise ValueError(
            f"An embedding needs three cells and three genes or more; here are {x.shape[0]} and {x.shape[1]}."
        )
    cells = AnnData(x)
    sc.pp.pca(cells, n_comps=n_comps, random_state=rng)
    loadings, mean = cells.varm["PCs"], np.asarray(x.mean(axis=0)).ravel()
    shares = cells.uns["pca"]["variance_ratio"]
    labels = f"PC1 ({shares[0]:.0%} of the variance)", f"PC2 ({shares[1]:.0%})"
    return cells.obsm["X_pca"], pair.generated.x @ loadings - mean @ loadings, labels


def _umap(real: np.ndarray, other: np.ndarray, rng: int) -> list[np.ndarray]:
    """UMAP of both."""
    import scanpy as sc
    from anndata import AnnData

    both = AnnData(obsm={"X_pca": np.concatenate([real, other])})
    sc.pp.neighbors(both, n_neighbors=min(15, both.n_obs - 1), use_rep="X_pca", random_state=rng)
    sc.tl.umap(both, random_state=rng)
    return np.split(both.obsm["X_umap"], [len(real)])


def _dots(ax: Axes, places: np.ndarray, colours: np.ndarray, size: float, rng: int) -> None:
    # In random order: else the last condition lies on top of all others.
    order = np.random.default_rng(rng).permutation(len(places))
    x, y = places[order, :2].T
    ax.scatter(x, y, c=colours[order], s=size, linewidths=0, rasterized=len(places) > 5000)


def _same_limits(axes: Sequence[Axes], places: np.ndarray) -> None:
    low, high = places.min(axis=0), places.max(axis=0)
    margin = 0.04 * np.where(high > low, high - low, 1)
    for ax in axes:
        ax.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
