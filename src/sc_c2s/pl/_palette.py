"""A colour for each condition."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Palette = str | Sequence[str] | Mapping[str, str]
"""Name of a colour map, colours in the order of the conditions, or a colour for each."""

LUMINANCE = (0.299, 0.587, 0.114)
"""What red, green and blue add to the brightness of a colour."""

_N_ROWS = 16  # of a column of the legend


def colour_conditions(conditions: Sequence[str], palette: Palette | None) -> dict[str, str]:
    """Colours in the order of the conditions; by default scanpy's."""
    from matplotlib.colors import to_hex

    if isinstance(palette, Mapping):
        if missing := [name for name in conditions if name not in palette]:
            raise KeyError(f"palette= has no colour for {missing[0]!r}; name one for each condition.")
        return {name: to_hex(palette[name]) for name in conditions}
    if palette is None:
        palette = _default(len(conditions))
    elif isinstance(palette, str):
        palette = _of_map(palette, len(conditions))
    return {name: to_hex(colour) for name, colour in zip(conditions, cycle(palette), strict=False)}


def _default(n: int) -> list[str]:
    """Colours that scanpy would give; of its largest palette not the pale ones, which look like the grey of real cells."""
    from matplotlib.colors import to_rgb
    from scanpy.plotting.palettes import default_20, default_102

    return default_20 if n <= len(default_20) else [c for c in default_102 if np.dot(to_rgb(c), LUMINANCE) < 0.8]


def _of_map(name: str, n: int) -> list[str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    colours = colormaps[name]
    few = colours.N < 64  # maps of single colours, as tab10; others are cut into equal steps
    return [to_hex(colours(i)) for i in (range(min(n, colours.N)) if few else np.linspace(0, 1, n))]


def legend_of(ax: Axes, colours: Mapping[str, str]) -> None:
    """Name the colours on the right of the axes."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=6, color=colour, label=name)
        for name, colour in colours.items()
    ]
    n = _n_columns(handles)
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=9, ncols=n)


def legend_width(names: Collection[str]) -> float:
    """Width of that legend in inches, about."""
    return (0.4 + 0.075 * max(map(len, names))) * _n_columns(names)


def _n_columns(names: Collection[object]) -> int:
    return -(-len(names) // _N_ROWS)
