"""What all plots share: where they draw, and what they hand back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito: told apart by colour-blind readers as well
BLUE, ORANGE, GREEN, RED, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#767676"


def open_axes(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    """Return the user's axes, or those of a new figure in which nothing is cut off."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize, layout="constrained")[1]


def hand_over(ax: Axes, *, given: Axes | None, show: bool | None, return_fig: bool) -> Axes | Figure | None:
    """Show the plot or return it; axes brought by the user are shown by the user."""
    if return_fig:
        return ax.get_figure(root=True)
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
