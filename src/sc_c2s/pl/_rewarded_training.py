"""Curves of a training with rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from ._axes import BLUE, GREEN, GREY, ORANGE, RED, SKY, despine, open_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (BLUE, RED, ORANGE, GREEN, SKY, GREY)


def watched(history: pd.DataFrame) -> list[str]:
    """Scores of the validation cells; the first one chose the state that was kept."""
    return [name for name in map(str, history) if name.startswith("val_")]


def draw_rewarded(history: pd.DataFrame, best: int | None, ax: Axes | Sequence[Axes] | None) -> list[Axes]:
    """Draw rewards, validation scores, divergence and entropy, and lengths."""
    panels = open_panels(ax, 4, ncols=2, size=(4.6, 3.1))
    parts = [name for name in map(str, history) if name.startswith("reward_")]
    columns = [
        ("reward", ["reward", *parts] if len(parts) > 1 else ["reward"]),
        ("validation cells", watched(history)),
        ("nats", ["kl", "entropy"]),
        ("length of an answer", ["length"]),
    ]
    for panel, (label, names) in zip(panels, columns, strict=True):
        for i, name in enumerate(name for name in names if name in history):
            colour = _COLOURS[i % len(_COLOURS)]
            points = history.loc[history[name].notna(), ["step", name]]
            said = name.removeprefix("reward_").removeprefix("val_")
            panel.plot(points["step"], points[name], color=colour, marker="o", markersize=3, linewidth=1.8, label=said)
        panel.set(xlabel="step", ylabel=label)
        if best is not None:
            panel.axvline(best, color=GREY, linestyle=":", linewidth=1.5, label=f"kept (step {best})")
        despine(panel)
        panel.margins(y=0.25)  # room for the legend
        panel.legend(frameon=False, fontsize=8, ncols=2)
    for panel in panels[2:]:  # neither nats nor words are below zero
        panel.set_ylim(0, None)
    return panels
