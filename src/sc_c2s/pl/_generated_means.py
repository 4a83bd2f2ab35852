"""Mean and share of zeros of every gene, in real and in generated cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from sc_c2s import _keys
from sc_c2s.metrics.measures import correlation

from ._axes import BLUE, GREY, despine, hand_over, open_panels
from ._pair import Pair, open_pair
from ._palette import Palette, legend_of, legend_width

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData


def generated_means(
    data: AnnData | MuData,
    *,
    groupby: str | Sequence[str] | None = None,
    generated: AnnData | None = None,
    key: str = _keys.GENERATED,
    layer: str | None = None,
    use_raw: bool = False,
    gene_symbols: str | None = None,
    mod: str | None = None,
    palette: Palette | None = None,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> list[Axes] | Figure | None:
    """Plot mean expression and share of zeros of every gene, in generated against real cells.

    Written in is Pearson's correlation over the genes; with conditions, the mean of the conditions' correlations, as in
    :func:`sc_c2s.metrics.generation`.

    Parameters
    ----------
    data
        Real cells: counts, which are brought to log1p counts per 10,000, or values on that scale.
    groupby
        Column of ``obs`` with the conditions, or several columns, whose combinations are the conditions: a dot for
        each gene and condition that both sides have. By default all cells are taken together.
    generated
        Generated cells. By default those that :func:`sc_c2s.tl.generate` stored beside the real ones.
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
    pair = open_pair(
        data,
        generated,
        groupby=groupby,
        key=key,
        mod=mod,
        layer=layer,
        use_raw=use_raw,
        gene_symbols=gene_symbols,
        palette=[BLUE] if groupby is None else palette,
    )
    names = {} if groupby is None else {name: pair.colours[name] for name in pair.shared}
    margin = (legend_width(names), 0) if names else (0, 0)
    given, axes = ax, open_panels(ax, 2, ncols=2, size=(4, 4.2), margin=margin)
    for panel, (title, unit, measure) in zip(axes, _MEASURES, strict=True):
        found = _scatter(panel, pair, measure)
        panel.set(xlabel=f"real cells ({unit})", ylabel=f"generated cells ({unit})", aspect="equal")
        of = f" (mean of {len(names)} conditions)" if names else ""
        panel.set_title(f"{title}\nPearson {found:.3f}{of}", fontsize="medium")
        despine(panel)
    if names:
        legend_of(axes[1], names)
    return hand_over(axes, given=given, show=show, return_fig=return_fig)


def _means(x: sparse.csr_matrix) -> np.ndarray:
    return np.asarray(x.mean(axis=0), dtype=np.float64).ravel()


def _zeros(x: sparse.csr_matrix) -> np.ndarray:
    return 1 - x.getnnz(axis=0) / x.shape[0]


_MEASURES = (("mean of every gene", "log1p CP10k", _means), ("zeros of every gene", "share of cells", _zeros))


def _scatter(ax: Axes, pair: Pair, measure: Callable[[sparse.csr_matrix], np.ndarray]) -> float:
    """Draw a dot for each gene and condition.

    Returns
    -------
    The correlation over the genes, averaged over the conditions.
    """
    values = {name: (measure(pair.real.of(name)), measure(pair.generated.of(name))) for name in pair.shared}
    highest = max(np.max(both) for both in values.values()) or 1
    ax.plot([0, highest], [0, highest], color=GREY, linestyle="--", linewidth=1, zorder=1)
    for name, both in values.items():
        dots = ax.scatter(*both, color=pair.colours[name], s=9, alpha=0.6, linewidths=0, rasterized=True)
        dots.set_label(name)
    return float(np.mean([correlation(*both) for both in values.values()]))
