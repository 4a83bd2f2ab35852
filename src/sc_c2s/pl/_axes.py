"""What all plots share: where they draw, and what they hand back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito: told apart by colour-blind readers as well
BLUE, ORANGE, GREEN, RED, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#767676"

Drawn = TypeVar("Drawn", "Axes", "list[Axes]")


def open_axes(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    """Return the user's axes, or those of a new figure in which nothing is cut off."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize, layout="constrained")[1]


def open_panels(
    ax: Axes | Sequence[Axes] | None,
    n: int,
    *,
    ncols: int,
    size: tuple[float, float],
    margin: tuple[float, float] = (0, 0),
    **options: Any,
) -> list[Axes]:
    """Return the user's axes, or those of a new figure with so many panels, row by row.

    A panel has this size in inches; the margin is what the figure is wider and higher than all of them.
    """
    if ax is not None:
        panels = list(np.ravel(np.asarray(ax, dtype=object)))
        if len(panels) != n:
            raise ValueError(f"This plot has {n} panels, and ax= brings {len(panels)} axes: give one for each panel.")
        return panels
    import matplotlib.pyplot as plt

    ncols = min(ncols, n)
    nrows = -(-n // ncols)
    figsize = size[0] * ncols + margin[0], size[1] * nrows + margin[1]
    _, grid = plt.subplots(nrows, ncols, figsize=figsize, layout="constrained", squeeze=False, **options)
    for empty in grid.flat[n:]:
        empty.remove()
    return list(grid.flat[:n])


def hand_over(ax: Drawn, *, given: object, show: bool | None, return_fig: bool) -> Drawn | Figure | None:
    """Show the plot or return it; axes brought by the user are shown by the user."""
    if return_fig:
        return (ax[0] if isinstance(ax, list) else ax).get_figure(root=True)
    if show is None:
        from scanpy import settings

        show = given is None and settings.autoshow
    if not show:
        return ax
    import matplotlib.pyplot as plt

    plt.show()
    return None


def despine(ax: Axes) -> None:
    """Keep only the axes that carry numbers."""
    ax.spines[["top", "right"]].set_visible(False)
