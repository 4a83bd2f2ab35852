"""Scores of generated cells beside those of their references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sc_c2s.metrics.generation import MEAN

from ._axes import GREY, hand_over, open_axes
from ._palette import LUMINANCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import EllipseCollection
    from matplotlib.figure import Figure

_MEASURES = {
    "scfid": ("scFID", 0),
    "mmd": ("MMD", 0),
    "energy": ("energy distance", 0),
    "sliced_wasserstein": ("sliced Wasserstein", 0),
    "gene_wasserstein": ("Wasserstein per gene", 0),
    "auc": ("real-or-generated AUC", 0.5),
    "knn_3": ("3-NN accuracy", 1),
    "knn_5": ("5-NN accuracy", 1),
    "knn_10": ("10-NN accuracy", 1),
    "knn_25": ("25-NN accuracy", 1),
    "lfc_pearson": ("fold changes, Pearson", 1),
    "lfc_slope": ("fold changes, slope", 1),
    "de_overlap": ("top genes in common", 1),
    "mean_correlation": ("means, Pearson", 1),
    "variance_correlation": ("variances, Pearson", 1),
    "dropout_correlation": ("zeros, Pearson", 1),
    "rare_genes": ("rare genes found", 1),
    "diversity": ("diversity", 1),
}
"""Name in words of every measure of :func:`sc_c2s.metrics.generation`, and its best value."""


def generation(
    table: pd.DataFrame,
    *,
    metrics: Sequence[str] | None = None,
    conditions: bool = False,
    cmap: str = "Blues",
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Plot the scores of generated cells and of their references as a dot plot.

    The number is the score. The colour says how near it comes to the best value that the measure can have, which stands
    above its column: from the farthest to the nearest in the column.

    Parameters
    ----------
    table
        Result of :func:`sc_c2s.metrics.generation`.
    metrics
        Columns to show, in this order. By default all that are scores.
    conditions
        Show a row for each condition of each source, above their mean. By default the mean alone.
    cmap
        Colour map, light for the farthest.
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
    scores, names = _scores(table, metrics, conditions)
    nearness = _nearness(scores)
    n_rows, n_columns = scores.shape
    longest = 0.075 * max(map(len, names))
    given, ax = ax, open_axes(ax, (2.9 + longest + 0.58 * n_columns, 2.3 + 0.55 * n_rows))
    rows, columns = np.divmod(np.flatnonzero(scores.notna().to_numpy()), n_columns)
    dots = _dots(ax, columns, rows, nearness[rows, columns], cmap)
    for (row, column), value in np.ndenumerate(scores.to_numpy()):
        dark = np.dot(dots.to_rgba(nearness[row, column])[:3], LUMINANCE) < 0.5
        colour = "white" if dark and not np.isnan(value) else "black"
        ax.text(column, row, _written(value), ha="center", va="center", fontsize=8, color=colour)
    heads = [f"{_MEASURES[name][0]} → {_MEASURES[name][1]:g}" for name in scores.columns]
    ax.set_xticks(range(n_columns), heads, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(n_rows), names)
    ax.set(xlim=(-0.6, n_columns - 0.4), ylim=(n_rows - 0.4, -0.6), aspect="equal")
    if conditions:
        for first in _starts(scores.index.get_level_values("source")):
            ax.axhline(first - 0.5, color=GREY, linewidth=0.6)
        for label, condition in zip(ax.get_yticklabels(), scores.index.get_level_values("condition"), strict=True):
            label.set_fontweight("bold" if condition == MEAN else "normal")
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(dots, ax=ax, fraction=0.02, pad=0.02, shrink=0.8, ticks=[0, 1])
    bar.ax.set_yticklabels(["worst of the column", "best of the column"])
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)
    return hand_over(ax, given=given, show=show, return_fig=return_fig)


def _scores(table: pd.DataFrame, metrics: Sequence[str] | None, conditions: bool) -> tuple[pd.DataFrame, list[str]]:
    """Rows and columns to show, and the names of the rows."""
    if list(table.index.names) != ["source", "condition"]:
        raise ValueError(
            "The table must be one of metrics.generation, with the index levels 'source' and 'condition': "
            "after a file, table.set_index(['source', 'condition'])."
        )
    if metrics is None:
        metrics = [name for name in _MEASURES if name in table and table[name].notna().any()]
    if unknown := [name for name in metrics if name not in _MEASURES or name not in table]:
        there = ", ".join(name for name in _MEASURES if name in table)
        raise KeyError(f"The table has no score {unknown[0]!r}; it has {there}.")
    of = table.index.get_level_values("condition")
    scores = table.loc[slice(None) if conditions else of == MEAN, list(metrics)].astype(float)
    if not scores.size:
        raise ValueError(
            f"The table has no scores to show: it has {len(table)} rows and {len(metrics)} of the columns."
        )
    names = [f"{source}: {MEAN.strip('()') if condition == MEAN else condition}" for source, condition in scores.index]
    return scores, names if conditions else list(scores.index.get_level_values("source"))


def _nearness(scores: pd.DataFrame) -> np.ndarray:
    """How near a score comes to the best value: 0 for the farthest of its column, 1 for the nearest."""
    distance = (scores - [_MEASURES[name][1] for name in scores.columns]).abs()
    span = distance.max() - distance.min()
    return ((distance.max() - distance) / span.where(span > 0)).fillna(1).where(scores.notna()).to_numpy()


def _dots(ax: Axes, x: np.ndarray, y: np.ndarray, nearness: np.ndarray, cmap: str) -> EllipseCollection:
    from matplotlib.collections import EllipseCollection

    width = np.full(len(x), 0.86)
    dots = EllipseCollection(
        width,
        width,
        np.zeros(len(x)),
        units="xy",
        offsets=np.column_stack([x, y]),
        offset_transform=ax.transData,
        array=nearness,
        cmap=cmap,
        edgecolors=GREY,
        linewidths=0.5,
    )
    dots.set_clim(0, 1)
    ax.add_collection(dots)
    return dots


def _written(value: float) -> str:
    """About three digits."""
    if np.isnan(value):
        return "–"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 or value == 0 else 3
    return f"{value:.{digits}f}"


def _starts(sources: pd.Index) -> np.ndarray:
    """Rows with which another source begins."""
    return 1 + np.flatnonzero(sources[1:] != sources[:-1])
