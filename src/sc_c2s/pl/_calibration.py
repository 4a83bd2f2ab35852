"""Confidence against accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sc_c2s import _keys, get, metrics

from ._axes import BLUE, GREY, SKY, despine, hand_over, open_axes
from ._labelled import cells_of_split

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData


def calibration(
    data: AnnData | MuData,
    groupby: str,
    *,
    key: str = _keys.CELL_TYPE,
    split: str | None = "test",
    n_bins: int = 10,
    mod: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Plot how often the likeliest label is right, against the probability it was given.

    Bars on the diagonal mean that a confidence of 80 % is right in 80 % of the cells. The whiskers show where 95 % of
    the dots of a perfectly calibrated model with as many cells would lie. Cells are judged by their likeliest label,
    also where :func:`sc_c2s.tl.annotate` called them unknown.

    Parameters
    ----------
    data
        Cells annotated by :func:`sc_c2s.tl.annotate`.
    groupby
        Column of ``obs`` with the true labels. Cells without one are left out.
    key
        Name of the annotation (its ``key_added``).
    split
        Show only cells of this split, where ``obs["c2s_split"]`` exists. None shows all.
    n_bins
        Number of equal-width bins.
    mod
        Modality, where ``data`` is a MuData.
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
    from scipy.stats import binom

    _, truth = cells_of_split(data, groupby=groupby, split=split, mod=mod)
    proba = get.annotation(data, key=key, mod=mod).loc[truth.index].filter(regex="^proba_").dropna()
    truth = truth.loc[proba.index].astype(str)
    if not len(proba):
        raise ValueError(f"None of these cells has probabilities in obsm[{_keys.proba(key)!r}].")
    confidence = proba.to_numpy().max(axis=1)
    correct = proba.columns[proba.to_numpy().argmax(axis=1)].str.removeprefix("proba_") == truth
    bins = metrics.reliability(confidence, correct, n_bins=n_bins)
    error = metrics.expected_calibration_error(confidence, correct, n_bins=n_bins)
    chance = metrics.chance_calibration_error(confidence, n_bins=n_bins)

    given, ax = ax, open_axes(ax, (5, 5))
    filled = bins[bins["n"] > 0]
    ax.bar(
        bins["low"],
        bins["accuracy"].fillna(0),
        width=1 / n_bins,
        align="edge",
        color=SKY,
        alpha=0.45,
        edgecolor="white",
        label="correct cells",
    )
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, zorder=1.5, label="perfect calibration")
    low, high = binom.interval(0.95, filled["n"], np.clip(filled["confidence"], 0, 1))
    ax.vlines(
        filled["confidence"],
        low / filled["n"],
        high / filled["n"],
        color=GREY,
        linewidth=2,
        alpha=0.7,
        label="perfect model, 95 % of draws",
    )
    ax.plot(filled["confidence"], filled["accuracy"], "o", color=BLUE, markersize=6, label="mean of the bin")
    for _, row in bins.iterrows():
        ax.annotate(
            f"{row['n']:.0f}",
            ((row["low"] + row["high"]) / 2, 0),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color="black" if row["n"] else GREY,
        )
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence (number: cells in the bin)", ylabel="share of correct cells")
    ax.set_title(
        f"calibration error {error:.3f}\nby chance alone {chance.mean:.3f}, in 95 % of draws below {chance.p95:.3f}",
        fontsize="medium",
    )
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False, fontsize=9)
    despine(ax)
    return hand_over(ax, given=given, show=show, return_fig=return_fig)
