"""Expression by rank, as measured and as fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from sc_c2s import _keys
from sc_c2s.data import open_cells, open_results

from ._axes import GREY, despine, hand_over, open_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

_NEAR = 1.15  # cells whose number of genes lies within this factor are shown with a curve
_FEWEST = 5  # values that make a median


def rank_fit(
    data: AnnData | MuData,
    *,
    key: str = _keys.SENTENCE,
    n_expressed: Sequence[int] | None = None,
    n_cells: int = 1000,
    mod: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Plot the fit that turns ranks back into expression.

    A curve for cells with few, with a middling and with many expressed genes, and the straight line in the logarithm
    of the rank, which knows no such number. Where the expression that the sentences were made from is still there,
    dots show the median of what was measured at that rank, and bands the middle half, in cells whose number of genes
    is within 15 % of the curve's.

    Parameters
    ----------
    data
        Cells with sentences by :func:`sc_c2s.pp.to_sentences`.
    key
        Key of ``uns`` that holds the fit.
    n_expressed
        Numbers of expressed genes to draw a curve for. By default three that span most of the cells.
    n_cells
        Number of cells to take the measured values from; 0 for the curves alone.
    mod
        Modality, where ``data`` is a MuData.
    ax
        Axes to draw on.
    show
        Show the plot. By default as scanpy's settings say, unless ``ax`` is given.
    return_fig
        Return the figure.

    Returns
    -------
    The axes if ``show=False``, the figure if ``return_fig=True``, else None.
    """
    from matplotlib import colormaps

    from sc_c2s.sentences.inverse import RankFit

    adata = open_results(data, mod).adata
    if key not in adata.uns or "rank_fit" not in adata.uns[key]:
        raise KeyError(f"uns[{key!r}] holds no fit; run pp.to_sentences first, or name its `key=`.")
    stored = adata.uns[key]
    fit = RankFit.from_dict(stored["rank_fit"])
    shown = _spread(fit.sizes) if n_expressed is None else sorted(n_expressed)
    measured = _measured(adata, stored.get("params", {}), n_cells)

    given, ax = ax, open_axes(ax, (5.6, 4.4))
    for n, colour in zip(shown, colormaps["viridis"](np.linspace(0.1, 0.8, len(shown))), strict=True):
        ranks = np.unique(np.geomspace(1, n, 200).astype(int)) - 1
        ax.plot(1 + ranks, fit.predict(ranks, np.asarray(n)), color=colour, linewidth=2, label=f"{n:,} genes")
        if measured is not None and (medians := _medians(*measured, n)) is not None:
            rank, low, middle, high = medians
            ax.fill_between(1 + rank, low, high, color=colour, alpha=0.15, linewidth=0)
            ax.plot(1 + rank, middle, "o", color=colour, markersize=4, markeredgecolor="white", markeredgewidth=0.5)
    ranks = np.unique(np.geomspace(1, max(shown), 200).astype(int)) - 1
    ax.plot(1 + ranks, fit.predict_line(ranks), color=GREY, linestyle="--", linewidth=1.5, label="straight line")
    ax.set_xscale("log")
    ax.set(
        ylim=(0, None),
        xlabel="rank in the cell (1: highest gene)",
        ylabel=f"expression ({'scale of the data' if stored['space'] == 'as given' else stored['space']})",
    )
    ax.set_title(
        f"R² {fit.r2:.3f}, straight line {fit.r2_line:.3f}\nin {fit.n_cells_held_out:,} cells that the fit has not seen",
        fontsize="medium",
    )
    ax.legend(title="expressed in the cell", frameon=False, fontsize=9)
    despine(ax)
    return hand_over(ax, given=given, show=show, return_fig=return_fig)


def _spread(sizes: np.ndarray) -> list[int]:
    """Pick a small, a middling and a large number of genes; the sizes of the fit are quantiles of its cells."""
    picked = sizes[[1, len(sizes) // 2, -2]] if len(sizes) > 3 else sizes
    return sorted({round(float(size)) for size in picked})


def _measured(
    adata: AnnData, params: Mapping[str, Any], n_cells: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Read rank, number of expressed genes and value of the non-zeros of some cells."""
    from sc_c2s.sentences.inverse import log_expression, ranked_values

    if not n_cells or params.get("mask_var") == "array":  # an array of genes is not stored
        return None
    names = ("layer", "use_raw", "gene_symbols", "mask_var")
    some = np.sort(np.random.default_rng(0).permutation(adata.n_obs)[:n_cells])
    try:
        cells = open_cells(adata[some], writable=False, **{name: params[name] for name in names if name in params})
        x = sparse.vstack([block for _, block in cells.chunks(all_genes=True)], format="csr")
    except (KeyError, ValueError):  # dropped or scaled since: the fit itself can still be shown
        return None
    log = log_expression(x)
    return ranked_values(log if cells.mask is None else log[:, cells.mask])


def _medians(rank: np.ndarray, n_expressed: np.ndarray, values: np.ndarray, n: int) -> np.ndarray | None:
    """Find the quartiles of the values along the rank, in cells with about ``n`` genes.

    Returns
    -------
    Four rows: mean rank, lower quartile, median, upper quartile.
    """
    near = np.abs(np.log(n_expressed / n)) < np.log(_NEAR)
    edges = np.unique(np.geomspace(1, n + 1, 25).astype(int))
    bins = np.digitize(1 + rank[near], edges)
    inside = [bins == b for b in range(1, len(edges))]
    full = [
        (rank[near][here].mean(), *np.quantile(values[near][here], (0.25, 0.5, 0.75)))
        for here in inside
        if here.sum() >= _FEWEST
    ]
    return np.array(full).T if full else None
