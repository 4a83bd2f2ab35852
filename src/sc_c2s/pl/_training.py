"""Training curves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sc_c2s import _keys
from sc_c2s.data import open_results
from sc_c2s.models import directory

from ._axes import BLUE, GREEN, GREY, RED, hand_over, open_axes
from ._rewarded_training import draw_rewarded, watched

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData


def training(
    data: AnnData | MuData | str | os.PathLike[str],
    *,
    key: str = _keys.FINETUNE,
    mod: str | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure | None:
    """Plot how a training went.

    For a training on examples, loss and validation accuracy over the steps. For one with rewards, in four panels: the reward and
    its parts, the scores of the validation cells, entropy and divergence from the model at the start, and the length of answers.

    Parameters
    ----------
    data
        The cells that :func:`sc_c2s.tl.finetune` was given, or the model directory that it wrote.
    key
        Key of ``uns`` that holds the history.
    mod
        Modality, where ``data`` is a MuData.
    ax
        Axes to draw on; the accuracy gets an axis of its own on their right side. Four of them for a training with rewards.
    show
        Show the plot. By default as scanpy's settings say, unless ``ax`` is given.
    return_fig
        Return the figure.

    Returns
    -------
    The axes (a list of four for a training with rewards) if ``show=False``, the figure if ``return_fig=True``, else None.
    """
    history, best = _history(data, key=key, mod=mod)
    if "reward" in history:
        panels = draw_rewarded(history, best, ax)
        return hand_over(panels, given=ax, show=show, return_fig=return_fig)
    if isinstance(ax, Sequence | np.ndarray):
        raise ValueError("The curves of a training on examples fit on one axes: give ax= that one.")
    return hand_over(_draw_learned(history, best, ax), given=ax, show=show, return_fig=return_fig)


def _draw_learned(history: pd.DataFrame, best: int | None, ax: Axes | None) -> Axes:
    """Draw loss and accuracy."""
    ax = open_axes(ax, (6.2, 4))
    lines = []
    for name, label, style in (
        ("train_loss", "training loss", {"color": BLUE}),
        ("val_loss", "validation loss", {"color": RED, "marker": "o", "markersize": 4}),
    ):
        if (points := _points(history, name)) is not None:
            lines += ax.plot(points["step"], points[name], label=label, linewidth=1.8, **style)
    ax.set(xlabel="step", ylabel="loss")
    losses = history[history.columns.intersection(["train_loss", "val_loss"])].to_numpy(dtype=float)
    # A loss that stays far from zero would be a flat line above it.
    if np.isfinite(losses).any() and np.nanmin(losses) < np.nanmax(losses) / 2:
        ax.set_ylim(0, None)
    ax.spines["top"].set_visible(False)
    if (points := _points(history, "val_accuracy")) is not None:
        right = ax.twinx()
        lines += right.plot(
            points["step"],
            points["val_accuracy"],
            label="validation accuracy (right)",
            color=GREEN,
            linestyle="--",
            marker="s",
            markersize=4,
            linewidth=1.8,
        )
        right.set_ylim(0, 1.02)
        right.set_ylabel("validation accuracy", color=GREEN)
        right.tick_params(axis="y", colors=GREEN)
        right.spines["top"].set_visible(False)
    else:
        ax.spines["right"].set_visible(False)
    title = "training"
    if best is not None:
        row = history[history["step"] == best].bfill().iloc[0]
        lines.append(ax.axvline(best, color=GREY, linestyle=":", linewidth=1.5, label=f"best step ({best})"))
        title = f"best at step {best}: " + ", ".join(
            f"{label} {row[name]:.3f}"
            for name, label in (("val_loss", "validation loss"), ("val_accuracy", "accuracy"))
            if name in row and pd.notna(row[name])
        )
    ax.set_title(title, fontsize="medium")
    ax.legend(handles=lines, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, fontsize=9)
    return ax


def _history(
    data: AnnData | MuData | str | os.PathLike[str], *, key: str, mod: str | None
) -> tuple[pd.DataFrame, int | None]:
    """Read the history, and the step whose weights were kept."""
    kept = None
    if isinstance(data, str | os.PathLike):
        if not (Path(data) / directory.HISTORY).is_file():
            raise FileNotFoundError(
                f"There is no {directory.HISTORY} in {os.fspath(data)!r}; give a directory written by tl.finetune."
            )
        history = directory.read_history(Path(data))
    else:
        uns = open_results(data, mod).adata.uns
        if key not in uns or "history" not in uns[key]:
            raise KeyError(
                f"uns[{key!r}] holds no training history; run tl.finetune first, or give its model directory."
            )
        history, kept = pd.DataFrame(uns[key]["history"]), uns[key].get("best_step")
    kept = _best_step(history) if kept is None else int(kept)
    return history.sort_values("step"), kept


def _points(history: pd.DataFrame, name: str) -> pd.DataFrame | None:
    """Keep the steps at which a quantity was measured."""
    if name not in history or history[name].isna().all():
        return None
    return history.loc[history[name].notna(), ["step", name]]


def _best_step(history: pd.DataFrame) -> int | None:
    if "reward" in history:
        scores = _points(history, name) if (name := next(iter(watched(history)), None)) else None
        return None if scores is None or name is None else int(scores["step"].iloc[scores[name].argmax()])
    if (losses := _points(history, "val_loss")) is not None:
        return int(losses["step"].iloc[losses["val_loss"].argmin()])
    if (accuracies := _points(history, "val_accuracy")) is not None:
        return int(accuracies["step"].iloc[accuracies["val_accuracy"].argmax()])
    return None
