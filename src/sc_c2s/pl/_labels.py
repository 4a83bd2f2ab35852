"""Names beside dots, none on top of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._axes import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ANGLES = np.deg2rad([0, 180, 45, 135, 315, 225, 90, 270, 22.5, 157.5, 337.5, 202.5])
_STEPS = np.arange(4, 80, 5)  # points between a dot and the nearest side of its name


def label_points(ax: Axes, places: np.ndarray, names: Sequence[str], *, fontsize: float = 8) -> None:
    """Write names as near to their places as the others let them.

    Limits and layout must be final: a new figure takes its layout in ``draw_without_rendering``.
    """
    from matplotlib.patheffects import withStroke

    per_point = ax.figure.get_figure(root=True).dpi / 72
    frame = np.array(ax.get_window_extent().extents)
    dots = ax.transData.transform(places)
    taken = [np.concatenate([dot - 3 * per_point, dot + 3 * per_point]) for dot in dots]
    taken += [np.array(text.get_window_extent().extents) for text in ax.texts]
    for place, dot, name in zip(places, dots, names, strict=True):
        text = ax.annotate(
            name,
            place,
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=fontsize,
            path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2},
        )
        extent = text.get_window_extent()
        half = np.array([extent.width / 2 + per_point, extent.height / 2])
        tried = _around(half, per_point)
        boxes = np.hstack([dot + tried - half, dot + tried + half])
        hidden = _overlap(boxes, np.array(taken)).sum(axis=1) - _overlap(boxes, frame[None]).sum(axis=1)
        best = int(np.argmin(np.round(hidden, 3)))  # the first, which is nearest, of those that are free
        text.set_position(tried[best] / per_point)
        taken.append(boxes[best])


def _around(half: np.ndarray, per_point: float) -> np.ndarray:
    """Middles of a box around a dot, in pixels from it, the nearest first."""
    directions = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])
    return (directions * (_STEPS[:, None, None] * per_point + half)).reshape(-1, 2)


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Area that each box of one kind shares with each of the other."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    return np.maximum(sides, 0).prod(axis=2)
