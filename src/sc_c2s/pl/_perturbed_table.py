"""Scores of predicted changes beside those of simpler predictors, by context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sc_c2s import _keys
from sc_c2s.metrics.generation import MEAN, REAL
from sc_c2s.metrics.perturbation import NO_CHANGE, PREDICTED, SHUFFLED
from sc_c2s.metrics.perturbation_measures import PROGRAM

from ._axes import hand_over, open_axes
from ._palette import LUMINANCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_WORDS = {
    "pearson_delta": "Pearson of the changes",
    "mae": "mean absolute error",
    "de_overlap": "top genes in common",
    "de_direction": "directions that match",
    "discrimination": "discrimination score",
    "mmd": "MMD",
    "energy": "energy distance",
    "sliced_wasserstein": "sliced Wasserstein",
    "scfid": "scFID",
    "gene_wasserstein": "Wasserstein per gene",
    "kendall": "Kendall's tau",
}
_LOWER = {"mae", "mmd", "energy", "sliced_wasserstein", "scfid", "gene_wasserstein"}
"""Scores of which low ones are good."""
_FIRST = (PREDICTED, "model")
_LAST = ("scrambled name", SHUFFLED, NO_CHANGE, REAL)
"""Controls: what a prediction has to beat, and what real cells reach."""
_NOT_SCORED = {"source", "context", "perturbation", "n", "n_genes", "embedding", "bandwidth"}


def perturbed_table(
    table: pd.DataFrame,
    *,
    metric: str = "pearson_delta",
    cmap: str = "Blues",
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Plot the scores of a prediction and of what it is compared with, a row for each source and a column for each context.

    The best score of each column is bold; ``"real"``, which is no prediction but what half of the real cells reach, does
    not take part. Dark is good.

    Parameters
    ----------
    table
        Result of :func:`sc_c2s.metrics.perturbation`, or ``uns[key]["metrics"]`` of :func:`sc_c2s.tl.perturb`.
    metric
        Column to show.
    cmap
        Colour map, light for bad.
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
    scores = scores_of(table, metric)
    given, ax = ax, open_axes(ax, table_size(scores))
    draw_table(ax, scores, cmap)
    return hand_over(ax, given=given, show=show, return_fig=return_fig)


@dataclass(frozen=True)
class Scores:
    """What the table shows: values (sources × columns), the last column their means."""

    metric: str
    values: np.ndarray
    sources: list[str]
    columns: list[str]

    @property
    def loss(self) -> np.ndarray:
        """The lower the better."""
        if self.metric in _LOWER:
            return self.values
        return np.abs(self.values) if self.metric.startswith(PROGRAM) else -self.values

    @property
    def best(self) -> np.ndarray:
        """Whether a value is the best of its column."""
        taking_part = np.array([source != REAL for source in self.sources])[:, None]
        loss = np.where(np.isnan(self.values) | ~taking_part, np.inf, self.loss)
        lowest = loss.min(axis=0)
        return (loss == lowest) & np.isfinite(lowest)


def scores_of(table: pd.DataFrame, metric: str) -> Scores:
    """Bring either kind of table into the form that is drawn."""
    flat = _flat(table)
    if metric not in flat or metric in _NOT_SCORED:
        there = ", ".join(str(name) for name in flat if name not in _NOT_SCORED)
        raise KeyError(f"The table has no score {metric!r}; it has {there}.")
    is_mean = flat["context"] == MEAN
    body = flat[~is_mean].assign(column=_columns(flat[~is_mean]))
    if body.duplicated(["source", "column"]).any():
        raise ValueError("The table has a source twice for one context: give it those of one prediction.")
    if body[metric].isna().all():
        raise ValueError(f"The table has no value of {metric!r} to show: its {len(body)} rows hold none.")
    values = body.pivot(index="source", columns="column", values=metric).astype(float)
    values = values.loc[_in_order(body["source"].unique()), body["column"].unique()]
    means = (values.abs() if metric.startswith(PROGRAM) else values).mean(axis=1)
    # That of the table, where it has one.
    means.update(flat[is_mean].set_index("source")[metric].astype(float))
    return Scores(
        metric, np.column_stack([values, means]), [str(name) for name in values.index], [*map(str, values), "mean"]
    )


def table_size(scores: Scores) -> tuple[float, float]:
    """Size of the figure in inches."""
    longest = [0.075 * max(map(len, names)) for names in (scores.sources, scores.columns)]
    return 1.9 + longest[0] + 0.62 * len(scores.columns), 0.9 + 0.75 * longest[1] + 0.36 * len(scores.sources)


def draw_table(ax: Axes, scores: Scores, cmap: str = "Blues") -> None:
    """Draw the table on axes."""
    shown, colours = _colours(scores, cmap)
    # From no correlation, or no distance, on: a share of the scale that is used says how much there is of it.
    lowest = min(0.0, np.nanmin(shown))
    image = ax.imshow(shown, cmap=colours, vmin=lowest, vmax=np.nanmax(shown), aspect="auto")
    best, digits = scores.best, _digits(scores.values)
    for (row, column), value in np.ndenumerate(scores.values):
        empty = np.isnan(value)
        dark = not empty and np.dot(image.to_rgba(shown[row, column])[:3], LUMINANCE) < 0.5
        ax.text(
            column,
            row,
            "–" if empty else f"{round(value, digits) + 0.0:.{digits}f}",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if dark else "black",
            fontweight="bold" if best[row, column] else "normal",
        )
    n_rows, n_columns = scores.values.shape
    ax.set_xticks(range(n_columns), scores.columns, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(n_rows), scores.sources)
    _frame(ax, scores)
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.03, pad=0.02)
    words = _WORDS.get(scores.metric, scores.metric.replace("_", " "))
    bar.set_label(f"error of {words}" if scores.metric.startswith(PROGRAM) else words)
    bar.outline.set_visible(False)


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """Source, context and, if known, perturbation as columns of strings."""
    if "source" not in table and "source" in table.index.names:
        table = table.reset_index()
    if not {"source", "context"} <= set(table):
        raise ValueError(
            "The table must be one of metrics.perturbation, with the index levels 'source', 'context' and "
            "'perturbation', or uns[key]['metrics'] of tl.perturb, with the columns 'source' and 'context'."
        )
    # Categories, as files bring them back, would multiply.
    return table.astype({name: str for name in ("source", "context", "perturbation") if name in table})


def _columns(body: pd.DataFrame) -> pd.Series:
    """Name of the column of each row: what tells the rows of a source apart."""
    if "perturbation" not in body or body["perturbation"].nunique() == 1:
        return body["context"]
    if body["context"].nunique() == 1:
        return body["perturbation"]
    return body["context"] + _keys.JOIN + body["perturbation"]


def _in_order(sources: np.ndarray) -> list[str]:
    """Put the prediction first and controls last; the others stay as they are."""
    place = {name: i - len(_FIRST) for i, name in enumerate(_FIRST)} | {name: 1 + i for i, name in enumerate(_LAST)}
    return sorted(sources, key=lambda name: place.get(name, 0))


def _colours(scores: Scores, cmap: str) -> tuple[np.ndarray, Colormap]:
    """Values to colour, and a map that makes good ones dark."""
    from matplotlib import colormaps

    colours = colormaps[cmap]
    if scores.metric.startswith(PROGRAM):
        return np.abs(scores.values), colours.reversed()
    return scores.values, colours.reversed() if scores.metric in _LOWER else colours


def _digits(values: np.ndarray) -> int:
    """Digits after the point, the same for all."""
    highest = np.nanmax(np.abs(values))
    return 0 if highest >= 100 else 1 if highest >= 10 else 2 if highest >= 0.2 else 3


def _frame(ax: Axes, scores: Scores) -> None:
    """Draw thin lines between the fields, and thick ones beside the prediction and the mean."""
    n_rows, n_columns = scores.values.shape
    ax.set_xticks(np.arange(n_columns + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(n_rows + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1.5)
    ax.grid(which="major", visible=False)
    ax.axvline(n_columns - 1.5, color="black", linewidth=1)
    n_first = sum(source in _FIRST for source in scores.sources)
    if 0 < n_first < n_rows:
        ax.axhline(n_first - 0.5, color="black", linewidth=1)
    for label, source in zip(ax.get_yticklabels(), scores.sources, strict=True):
        label.set_fontweight("bold" if source in _FIRST else "normal")
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
