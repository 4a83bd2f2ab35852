"""Effects of perturbations in one context against those in another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sc_c2s import _keys
from sc_c2s.data import open_results

from ._axes import GREY, ORANGE, despine, hand_over, open_axes
from ._labels import label_points

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

_MOST_CONTEXTS = 2  # that an axis names


def screen(
    data: AnnData | MuData,
    *,
    key: str = _keys.SCREEN,
    mod: str | None = None,
    n_labels: int = 10,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Plot what perturbations change of a gene program in one context against what they change in another.

    A dot is a candidate of :func:`sc_c2s.tl.screen`. On the dashed line the effect is the same in both contexts; the
    farther a dot is from it, the more it splits them. The share in the title says how many of the hits could have been
    read off the training data without a model.

    Parameters
    ----------
    data
        Cells that :func:`sc_c2s.tl.screen` was given.
    key
        Name of the results (their ``key_added``).
    mod
        Modality, where ``data`` is a MuData.
    n_labels
        Number of candidates to name: those with the largest split of either sign.
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
    uns = open_results(data, mod).adata.uns
    if key not in uns or "table" not in uns[key]:
        raise KeyError(f"uns[{key!r}] holds no screen; run tl.screen first, or name its results with `key=`.")
    stored = uns[key]
    table = pd.DataFrame(stored["table"])

    given, ax = ax, open_axes(ax, (4.8, 4.8))
    _scatter(ax, table)
    _name(ax, stored, len(table))
    # Names are placed when all else is drawn: until then the layout moves.
    ax.figure.get_figure(root=True).draw_without_rendering()
    top = table.loc[table["split"].abs().sort_values(ascending=False, kind="stable").index[:n_labels]]
    label_points(ax, top[["effect_a", "effect_b"]].to_numpy(), list(top["candidate"]))
    return hand_over(ax, given=given, show=show, return_fig=return_fig)


def _scatter(ax: Axes, table: pd.DataFrame) -> None:
    values = table[["effect_a", "effect_b"]].to_numpy()
    # No change is always in view: without it nobody sees whether effects are large.
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    margin = 0.12 * (high - low) or 1.0
    low, high = low - margin, high + margin
    for line in (ax.axhline, ax.axvline):
        line(0, color=GREY, linewidth=0.6, zorder=1)
    ax.plot([low, high], [low, high], color=GREY, linestyle="--", linewidth=1, zorder=1)
    hit = table["hit"].to_numpy(dtype=bool)
    for which, colour, label in ((~hit, GREY, "no hit"), (hit, ORANGE, "hit (adjusted p < 0.05)")):
        ax.scatter(
            values[which, 0], values[which, 1], color=colour, s=22, linewidths=0, alpha=0.85, label=label, zorder=2
        )
    ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    despine(ax)


def _name(ax: Axes, stored: Mapping[str, Any], n_candidates: int) -> None:
    """Say what is on the axes, and how much of it needs the model."""
    a, b = (_contexts(stored[f"contexts_{side}"]) for side in ("a", "b"))
    ax.set(xlabel=f"change of the program in {a}", ylabel=f"change of the program in {b}")
    share = float(stored["share_also_baseline"])
    title = f"{len(stored['genes'])} genes: {stored['n_hits']} of {n_candidates} candidates are hits"
    said = "" if np.isnan(share) else f"\n{share:.0%} of the hits without a model, too"
    ax.set_title(title + said, fontsize="medium")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False, fontsize=9)


def _contexts(names: np.ndarray) -> str:
    return ", ".join(map(str, names)) if len(names) <= _MOST_CONTEXTS else f"{len(names)} contexts"
