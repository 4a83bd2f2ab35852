"""True against predicted labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sc_c2s import _keys, metrics

from ._axes import hand_over, open_axes
from ._labelled import cells_of_split

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData


def confusion(
    data: AnnData | MuData,
    groupby: str,
    *,
    key: str = _keys.CELL_TYPE,
    split: str | None = "test",
    labels: Sequence[str] | None = None,
    mod: str | None = None,
    cmap: str = "Blues",
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Plot how often each true label was given each predicted one.

    Colour is the share of the true label's cells, so that rare types can be read as well; the number is the count.

    Parameters
    ----------
    data
        Annotated cells.
    groupby
        Column of ``obs`` with the true labels. Cells without one are left out.
    key
        Column of ``obs`` with the predicted labels.
    split
        Show only cells of this split, where ``obs["c2s_split"]`` exists. None shows all.
    labels
        Order of the labels. By default that of the categories.
    mod
        Modality, where ``data`` is a MuData.
    cmap
        Colour map, light for low.
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
    adata, truth = cells_of_split(data, groupby=groupby, split=split, mod=mod)
    if key not in adata.obs:
        raise KeyError(f"obs has no predicted labels {key!r}; run tl.annotate, or name the column with `key=`.")
    predicted = adata.obs.loc[truth.index, key]
    counts = metrics.confusion(truth, predicted, labels=labels)
    scores = metrics.annotation(truth, predicted)
    sizes = counts.sum(axis=1)
    share = counts.div(np.maximum(sizes, 1), axis=0)

    n_rows, n_columns = counts.shape
    longest = 0.07 * max(len(name) for name in counts.columns)
    given, ax = ax, open_axes(ax, (2.2 + longest + 0.42 * n_columns, 1.2 + longest + 0.42 * n_rows))
    image = ax.imshow(share, cmap=cmap, vmin=0, vmax=1, aspect="equal")
    small = 9 if n_columns <= 12 else 7
    for (row, column), count in np.ndenumerate(counts.to_numpy()):
        if count:
            colour = "white" if count > 0.55 * sizes.iloc[row] else "black"
            size = small if count < 1000 else 7
            ax.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=size)
    ax.set_xticks(range(n_columns), counts.columns, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(n_rows), [f"{name} ({sizes[name]})" for name in counts.index])
    # thin white lines between the fields
    ax.set_xticks(np.arange(n_columns + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(n_rows + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1.5)
    ax.grid(which="major", visible=False)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    if n_columns > n_rows:
        ax.axvline(n_rows - 0.5, color="black", linewidth=0.8)
    ax.set_xlabel("predicted label")
    ax.set_ylabel("true label (cells)")
    ax.set_title(
        f"accuracy {scores['accuracy']:.3f}, macro-F1 {scores['macro_f1']:.3f}\n{scores['n']} cells",
        fontsize="medium",
    )
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03, shrink=0.6)
    bar.set_label("share of the true label")
    bar.outline.set_visible(False)
    return hand_over(ax, given=given, show=show, return_fig=return_fig)
