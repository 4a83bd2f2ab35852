"""Distributions of chosen genes, in real and in generated cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from sc_c2s import _keys

from ._axes import despine, hand_over, open_panels
from ._pair import Pair, open_pair
from ._palette import Palette

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

_REAL = "#bdbdbd"
_HALF = 0.44  # widest half of a violin; conditions are 1 apart
_RIDGE = 0.84  # highest ridge
_FOOT = 0.035  # thickness of a bar of zeros, as a share of the axis
_LEGEND = 1.6  # its width in inches
_N_RIDGES = 4  # panels beside each other
_N_GRID = 120


def generated_distributions(
    data: AnnData | MuData,
    *,
    genes: str | Sequence[str],
    groupby: str | Sequence[str],
    generated: AnnData | None = None,
    kind: Literal["violin", "ridge"] = "violin",
    key: str = _keys.GENERATED,
    layer: str | None = None,
    use_raw: bool = False,
    gene_symbols: str | None = None,
    mod: str | None = None,
    palette: Palette | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> list[Axes] | Figure | None:
    """Plot how genes are distributed in real and in generated cells, by condition.

    Most values of single cells are zeros, which a density would smear over everything else. So each distribution has two
    parts: a bar, as long as the share of zeros, and a density of the other values, whose area is their share. Both sides
    of a condition are drawn by one bandwidth (Silverman's rule, for the real cells).

    Parameters
    ----------
    data
        Real cells: counts, which are brought to log1p counts per 10,000, or values on that scale.
    genes
        Genes to show, a panel for each.
    groupby
        Column of ``obs`` with the conditions, or several columns, whose combinations are the conditions. Those that both
        sides have are shown.
    generated
        Generated cells. By default those that :func:`sc_c2s.tl.generate` stored beside the real ones.
    kind
        ``"violin"``: real cells on the left and generated ones on the right of each violin. ``"ridge"``: one over the
        other, a row for each condition.
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
        Axes to draw on, one for each gene.
    show
        Show the plot. By default as scanpy's settings say, unless ``ax`` is given.
    return_fig
        Return the figure.

    Returns
    -------
    The axes of each gene if ``show=False``, the figure if ``return_fig=True``, else None.
    """
    if kind not in ("violin", "ridge"):
        raise ValueError(f"kind must be 'violin' or 'ridge', not {kind!r}.")
    names = [genes] if isinstance(genes, str) else list(genes)
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
    if missing := [name for name in names if name not in pair.genes]:
        raise KeyError(f"Real and generated cells do not both have the gene {missing[0]!r}; choose others.")
    if not names:
        raise ValueError("There is no gene to show: name some with genes=.")
    n, longest = len(pair.shared), 0.08 * max(map(len, pair.shared))
    given = ax
    if kind == "violin":
        size, margin = (0.6 + 0.7 * n, 1.9), (_LEGEND, longest)
        axes = open_panels(ax, len(names), ncols=1, size=size, margin=margin, sharex=True)
    else:
        size, margin = (2.3, 0.8 + 0.5 * n), (_LEGEND + longest, 0)
        axes = open_panels(ax, len(names), ncols=_N_RIDGES, size=size, margin=margin, sharey=True)
    for panel, name in zip(axes, names, strict=True):
        marginals = _marginals(pair, name)
        (_violins if kind == "violin" else _ridges)(panel, marginals, pair.colours)
        panel.set_title(name, loc="left", fontsize="medium")
        despine(panel)
    for panel in axes:
        if kind == "violin":
            panel.set_xticks(range(n), pair.shared, rotation=45, ha="right", rotation_mode="anchor")
        else:
            panel.set_yticks(range(n), pair.shared[::-1])
        panel.set(**{"ylabel" if kind == "violin" else "xlabel": "log1p CP10k"})
    _legend(axes[min(len(axes), 1 if kind == "violin" else _N_RIDGES) - 1], pair)
    return hand_over(axes, given=given, show=show, return_fig=return_fig)


class _Marginal(NamedTuple):
    """Distribution of a gene in some cells."""

    zeros: float
    grid: np.ndarray
    density: np.ndarray
    """Of the values above zero; its integral is their share."""


def _marginals(pair: Pair, gene: str) -> dict[str, tuple[_Marginal, _Marginal]]:
    """Distribution in the real and in the generated cells of each condition."""
    column = pair.genes.get_loc(gene)
    values = {
        name: [side.of(name)[:, [column]].toarray().ravel() for side in (pair.real, pair.generated)]
        for name in pair.shared
    }
    highest = max(max(real.max(), other.max()) for real, other in values.values()) or 1.0
    widths = {name: max(_bandwidth(real[real > 0]), 0.04 * highest) for name, (real, _) in values.items()}
    grid = np.linspace(0, highest + 3 * max(widths.values()), _N_GRID)
    return {
        name: (_marginal(real, grid, widths[name]), _marginal(other, grid, widths[name]))
        for name, (real, other) in values.items()
    }


def _marginal(values: np.ndarray, grid: np.ndarray, width: float) -> _Marginal:
    shown = values[values > 0]
    # What would lie below zero is folded back.
    steps = (grid[:, None] - np.concatenate([shown, -shown])) / width
    heights = np.exp(-0.5 * steps**2).sum(axis=1) / (width * np.sqrt(2 * np.pi))
    return _Marginal(float((values == 0).mean()), grid, heights / len(values))


def _bandwidth(values: np.ndarray) -> float:
    """Silverman's rule of thumb."""
    if len(values) < 2:
        return 0.0
    low, high = np.quantile(values, (0.25, 0.75))
    spread = min(values.std(ddof=1), (high - low) / 1.34) or values.std(ddof=1)
    return float(0.9 * spread * len(values) ** -0.2)


def _violins(ax: Axes, marginals: dict[str, tuple[_Marginal, _Marginal]], colours: dict[str, str]) -> None:
    scale = _HALF / _highest(marginals)
    for i, (name, sides) in enumerate(marginals.items()):
        for side, marginal, colour in zip((-1, 1), sides, (_REAL, colours[name]), strict=True):
            top = marginal.grid[-1]
            ax.fill_betweenx(marginal.grid, i, i + side * scale * marginal.density, color=colour, linewidth=0)
            length = side * _HALF * marginal.zeros
            ax.bar(i, -_FOOT * top, length, bottom=-0.5 * _FOOT * top, align="edge", color=colour)
    ax.set_ylim(-2 * _FOOT * top, top)
    ax.set_xlim(-0.6, len(marginals) - 0.4)


def _ridges(ax: Axes, marginals: dict[str, tuple[_Marginal, _Marginal]], colours: dict[str, str]) -> None:
    scale = _RIDGE / _highest(marginals)
    for i, (name, (real, other)) in enumerate(marginals.items()):
        top, foot = real.grid[-1], len(marginals) - 1 - i
        ax.fill_between(real.grid, foot, foot + scale * real.density, color=_REAL, linewidth=0)
        ax.fill_between(other.grid, foot, foot + scale * other.density, color=colours[name], alpha=0.25, linewidth=0)
        ax.plot(other.grid, foot + scale * other.density, color=colours[name], linewidth=1.5)
        for place, marginal, colour in zip((-2.5, -1.25), (real, other), (_REAL, colours[name]), strict=True):
            ax.bar(place * _FOOT * top, _RIDGE * marginal.zeros, _FOOT * top, bottom=foot, align="edge", color=colour)
    ax.set_xlim(-3 * _FOOT * top, top)
    ax.set_ylim(-0.1, len(marginals))


def _highest(marginals: dict[str, tuple[_Marginal, _Marginal]]) -> float:
    return max(marginal.density.max() for sides in marginals.values() for marginal in sides) or 1.0


def _legend(ax: Axes, pair: Pair) -> None:
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.patches import Patch

    some = tuple(Patch(color=pair.colours[name]) for name in pair.shared[:3])
    ax.legend(
        handles=[Patch(color=_REAL), some],
        labels=["real cells", "generated cells"],
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
        title="bars: share of zeros",
        title_fontsize=9,
        fontsize=9,
        alignment="left",
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        frameon=False,
    )
