"""Predicted against real change of every gene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scanpy import logging as logg

from sc_c2s import _keys
from sc_c2s.metrics.effects import strongest
from sc_c2s.metrics.measures import correlation

from ._axes import BLUE, GREY, SKY, despine, hand_over, open_panels
from ._labels import label_points
from ._prediction import CONTROL, REAL, Prediction, open_prediction

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

N_PANELS = 8
"""Most contexts that are shown unasked."""
N_BESIDE = 4


def perturbed_changes(
    data: AnnData | MuData,
    *,
    context: str | Sequence[str] | None = None,
    n_labels: int = 10,
    key: str = _keys.PERTURBED,
    mod: str | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> list[Axes] | Figure | None:
    """Plot the predicted against the real change of every gene, a panel for each context.

    The real change is the mean of the real perturbed cells less that of the real control cells, in log1p counts per
    10,000; the predicted one the mean of what the model predicted for the control cells. Dots on the dashed diagonal
    are predicted as they are; those between it and the horizontal axis, too small. Pearson's correlation is that of
    ``uns[key]["metrics"]`` as long as the cells and genes are those that were predicted.

    Parameters
    ----------
    data
        Cells whose perturbation :func:`sc_c2s.tl.perturb` predicted, among them real perturbed ones.
    context
        Context to show, or several (of several columns: joined by ``" | "``). By default the eight with most cells.
    n_labels
        Number of genes to name: those that really change most, up or down.
    key
        Name of the prediction (its ``key_added``).
    mod
        Modality, where ``data`` is a MuData.
    ax
        Axes to draw on, one for each context that is shown.
    show
        Show the plot. By default as scanpy's settings say, unless ``ax`` is given.
    return_fig
        Return the figure.

    Returns
    -------
    The axes of each context if ``show=False``, the figure if ``return_fig=True``, else None.

    Raises
    ------
    ValueError
        If there are no real perturbed cells.
    """
    prediction = open_prediction(data, key=key, mod=mod)
    contexts = contexts_to_show(prediction, context)
    given, axes = ax, open_panels(ax, len(contexts), ncols=N_BESIDE, size=(3.6, 3.9))
    draw_changes(axes, prediction, contexts, n_labels=n_labels)
    return hand_over(axes, given=given, show=show, return_fig=return_fig)


def contexts_to_show(prediction: Prediction, context: str | Sequence[str] | None) -> list[str]:
    """Find the contexts asked for, or those with most cells."""
    prediction.need_real()
    there = prediction.compared
    if context is None:
        return _largest(prediction)
    asked = [context] if isinstance(context, str) else list(context)
    if not asked:
        raise ValueError("There is no context to show: name some with context=, or leave it out.")
    if missing := [name for name in asked if name not in there]:
        raise KeyError(
            f"There is no context {missing[0]!r} with real and predicted cells; there are: "
            f"{', '.join(map(repr, there))}."
        )
    return asked


def draw_changes(axes: Sequence[Axes], prediction: Prediction, contexts: Sequence[str], *, n_labels: int) -> None:
    """Draw a context on each of the axes, whose figure must be complete otherwise: names are placed by its layout."""
    changes = {name: (prediction.real_change(name), prediction.predicted_change(name)) for name in contexts}
    for panel, (name, (real, predicted)) in zip(axes, changes.items(), strict=True):
        _scatter(panel, real, predicted)
        found, n = correlation(predicted, real), (prediction.kinds[REAL].contexts == name).sum()
        pearson = "–" if np.isnan(found) else f"{found:.2f}"
        panel.set_title(f"{name}\nPearson {pearson}, {n:,} real cells", fontsize="medium")
    # Names are placed when all panels are drawn: until then the layout moves.
    axes[0].figure.get_figure(root=True).draw_without_rendering()
    for panel, (real, predicted) in zip(axes, changes.values(), strict=True):
        top = strongest(real, n_labels)
        places = np.column_stack([real[top], predicted[top]])
        panel.scatter(places[:, 0], places[:, 1], color=BLUE, s=14, linewidths=0)
        label_points(panel, places, list(prediction.genes[top]))


def _largest(prediction: Prediction) -> list[str]:
    there = prediction.compared
    cells = np.concatenate([prediction.kinds[CONTROL].contexts, prediction.kinds[REAL].contexts])
    order = sorted(there, key=lambda name: -(cells == name).sum())
    if len(there) > N_PANELS:
        logg.warning(f"Shown are the {N_PANELS} largest of {len(there)} contexts: name others with context=.")
    return [name for name in there if name in order[:N_PANELS]]


def _scatter(ax: Axes, real: np.ndarray, predicted: np.ndarray) -> None:
    both = np.concatenate([real, predicted])
    low, high = both.min(), both.max()
    margin = 0.08 * (high - low) or 1.0
    low, high = low - margin, high + margin
    for line in (ax.axhline, ax.axvline):
        line(0, color=GREY, linewidth=0.6, zorder=1)
    ax.plot([low, high], [low, high], color=GREY, linestyle="--", linewidth=1, zorder=1)
    ax.scatter(real, predicted, color=SKY, s=10, alpha=0.6, linewidths=0, rasterized=True)
    ax.set(
        xlim=(low, high),
        ylim=(low, high),
        aspect="equal",
        xlabel="real change (log1p CP10k)",
        ylabel="predicted change (log1p CP10k)",
    )
    despine(ax)
