"""One cell's sentence as coloured words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sc_c2s import _keys
from sc_c2s.data import open_results
from sc_c2s.sentences.text import unquote

from ._axes import RED, hand_over

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

_GAP, _PAD, _LINE = 0.8, 0.28, 2.0  # between words, around a word, from line to line; all in font sizes


def sentence(
    data: AnnData | MuData,
    cell: str | int,
    *,
    key: str = _keys.SENTENCE,
    n_genes: int = 80,
    markers: Iterable[str] | Mapping[str, Iterable[str]] = (),
    mod: str | None = None,
    cmap: str = "viridis",
    fontsize: float = 10,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Plot the sentence of a cell, coloured by rank.

    Parameters
    ----------
    data
        Cells with sentences by :func:`sc_c2s.pp.to_sentences`.
    cell
        Name of the cell, or its position.
    key
        Column of ``obs`` with the sentences.
    n_genes
        Number of words to show, from the highest gene on.
    markers
        Genes to frame and set in bold; groups of them, as in scanpy's marker dictionaries, are joined.
    mod
        Modality, where ``data`` is a MuData.
    cmap
        Colour map; its dark end is the highest gene.
    fontsize
        Size of the words in points. On given axes it shrinks until they fit.
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

    name, text = _text_of(open_results(data, mod).adata, cell, key)
    written = [unquote(word) for word in text.split()]
    words = written[:n_genes]
    groups = markers.values() if isinstance(markers, Mapping) else [markers]
    marked = {gene for group in groups for gene in group}
    bold = [word in marked for word in words]

    given = ax
    ax, fontsize, places = _placed(ax, words, bold, fontsize)
    # the last, brightest tenth of the map would not hold white nor black words well
    colours = colormaps[cmap](np.linspace(0, 0.9, max(len(words), 2)))
    for word, strong, (x, y), colour in zip(words, bold, places, colours, strict=False):
        ax.text(
            x,
            y,
            word,
            fontsize=fontsize,
            fontweight="bold" if strong else "normal",
            va="center",
            color="white" if colour[:3] @ (0.299, 0.587, 0.114) < 0.45 else "black",
            bbox={
                "boxstyle": f"round,pad={_PAD},rounding_size=0.2",
                "facecolor": colour,
                "edgecolor": RED if strong else "none",
                "linewidth": 2.2 if strong else 0,
            },
        )
    shown = f"first {len(words)} of {len(written)} genes" if len(words) < len(written) else f"{len(written)} genes"
    found = f", {sum(bold)} of {len(marked)} markers" if marked else ""
    ax.set_title(f"{name}: {shown}{found}", fontsize="medium", loc="left")
    return hand_over(ax, given=given, show=show, return_fig=return_fig)


def _text_of(adata: AnnData, cell: str | int, key: str) -> tuple[str, str]:
    """Name and sentence of a cell."""
    if key not in adata.obs:
        raise KeyError(f"obs has no sentences {key!r}; run pp.to_sentences first, or name the column with `key=`.")
    if isinstance(cell, str):
        if cell not in adata.obs_names:
            raise KeyError(f"There is no cell {cell!r}; name one of obs_names, or give a position.")
        cell = adata.obs_names.get_loc(cell)
    elif not -adata.n_obs <= cell < adata.n_obs:
        raise IndexError(f"There is no cell {cell}; there are {adata.n_obs}.")
    text = adata.obs[key].iloc[cell]
    return str(adata.obs_names[cell]), text if isinstance(text, str) else ""


def _placed(
    ax: Axes | None, words: Sequence[str], bold: Sequence[bool], fontsize: float
) -> tuple[Axes, float, list[tuple[float, float]]]:
    """Find a place for every word, on axes whose units are points."""
    widths = _widths(words, bold)
    if ax is None:
        import matplotlib.pyplot as plt

        width = 7.5 * 72
        places, height = _flow(widths, width, fontsize)
        margin, head = 0.12, 0.4
        size = width / 72 + 2 * margin, height / 72 + margin + head
        fig = plt.figure(figsize=size)
        ax = fig.add_axes((margin / size[0], margin / size[1], width / 72 / size[0], height / 72 / size[1]))
    else:
        box = ax.get_window_extent()
        inches = box.transformed(ax.figure.dpi_scale_trans.inverted())
        width, room = inches.width * 72, inches.height * 72
        places, height = _flow(widths, width, fontsize)
        while height > room and fontsize > 3:
            fontsize *= 0.95
            places, height = _flow(widths, width, fontsize)
        height = max(height, room)
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.set_axis_off()
    return ax, fontsize, places


def _widths(words: Sequence[str], bold: Sequence[bool]) -> list[float]:
    """Measure the printed words, in font sizes."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    fonts = {strong: FontProperties(weight="bold" if strong else "normal") for strong in (False, True)}
    return [
        TextPath((0, 0), word, size=1, prop=fonts[strong]).get_extents().width
        for word, strong in zip(words, bold, strict=True)
    ]


def _flow(widths: Sequence[float], width: float, fontsize: float) -> tuple[list[tuple[float, float]], float]:
    """Set words into lines.

    Returns
    -------
    Left end and middle of every word, counted from the top left, and the height of all lines.
    """
    left, gap, line = _PAD * fontsize, _GAP * fontsize, _LINE * fontsize
    places = []
    x, y = left, line / 2
    for word in widths:
        if x > left and x + word * fontsize + left > width:
            x, y = left, y + line
        places.append((x, y))
        x += word * fontsize + gap + left
    return places, y + line / 2
