"""Scores of gene programs before, after and as predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sc_c2s import _keys
from sc_c2s.metrics.programs import program_scores

from ._axes import GREY, despine, hand_over, open_panels
from ._palette import Palette, colour_conditions
from ._prediction import COLOURS, Prediction, open_prediction

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

_SPAN = 0.84  # of the violins of a context; contexts are 1 apart
_LEGEND = 1.1  # its width in inches

Genes = Mapping[str, Sequence[str]] | Sequence[str]
"""Programs by name, or the genes of one."""


def perturbed_program(
    data: AnnData | MuData,
    *,
    genes: Genes,
    key: str = _keys.PERTURBED,
    mod: str | None = None,
    palette: Palette | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> list[Axes] | Figure | None:
    """Plot how the score of gene programs is distributed in control, real perturbed and predicted cells.

    A score is the mean of the program's genes less the mean of all genes that were predicted, in log1p counts per
    10,000: :func:`sc_c2s.metrics.program_scores`. The lines are medians. Without real perturbed cells these are left
    out.

    Parameters
    ----------
    data
        Cells whose perturbation :func:`sc_c2s.tl.perturb` predicted. Those of contexts without a prediction are left
        out.
    genes
        Genes of a program, or of several by name (as of :func:`sc_c2s.metrics.read_gmt`), a panel for each.
    key
        Name of the prediction (its ``key_added``).
    mod
        Modality, where ``data`` is a MuData.
    palette
        Colours: a colour map, a list, or a mapping from ``"control"``, ``"real"`` and ``"predicted"``.
    ax
        Axes to draw on, one for each program.
    show
        Show the plot. By default as scanpy's settings say, unless ``ax`` is given.
    return_fig
        Return the figure.

    Returns
    -------
    The axes of each program if ``show=False``, the figure if ``return_fig=True``, else None.
    """
    prediction = open_prediction(data, key=key, mod=mod)
    programs = programs_of(genes, prediction)
    colours = colour_conditions(list(prediction.there), COLOURS if palette is None else palette)
    size, margin = program_size(prediction)
    given, axes = ax, open_panels(ax, len(programs), ncols=1, size=size, margin=margin, sharex=True)
    draw_programs(axes, prediction, programs, colours)
    return hand_over(axes, given=given, show=show, return_fig=return_fig)


def programs_of(genes: Genes, prediction: Prediction) -> dict[str, list[str]]:
    """Give the programs by name, all of which have predicted genes."""
    if isinstance(genes, str):
        raise ValueError(
            f"genes={genes!r} is a single name: give a list of genes, or a mapping from names to such lists."
        )
    if isinstance(genes, Mapping):
        programs = {str(name): list(members) for name, members in genes.items()}
    else:
        programs = {"program": list(genes)}
    if not programs or not all(programs.values()):
        raise ValueError("There is no program to show, or one without genes: give the genes of each.")
    for name, members in programs.items():
        if not prediction.genes.isin(members).any():
            raise KeyError(f"None of the genes of {name!r} ({members[0]!r}, …) was predicted; choose others.")
    return programs


def program_size(prediction: Prediction) -> tuple[tuple[float, float], tuple[float, float]]:
    """Size of a panel and what the figure has beside the panels, in inches."""
    longest = 0.06 * max(map(len, prediction.contexts))
    return (1.2 + 0.75 * len(prediction.contexts), 2.0), (_LEGEND, longest)


def draw_programs(
    axes: Sequence[Axes], prediction: Prediction, programs: Mapping[str, Sequence[str]], colours: dict[str, str]
) -> None:
    """Draw a program on each of the axes."""
    scores = {name: program_scores(kind.x, list(prediction.genes), programs) for name, kind in prediction.there.items()}
    contexts = prediction.contexts
    for panel, (program, members) in zip(axes, programs.items(), strict=True):
        n = prediction.genes.isin(members).sum()
        for place, (name, kind) in enumerate(prediction.there.items()):
            offset = _SPAN * ((place + 0.5) / len(colours) - 0.5)
            found = scores[name][program].to_numpy()
            _violins(
                panel,
                [found[kind.contexts == context] for context in contexts],
                offset,
                _SPAN / len(colours),
                colours[name],
            )
        panel.set_title(f"{program} ({n:,} of {len(set(members)):,} genes)", loc="left", fontsize="medium")
        panel.set(ylabel="program score", xlim=(-0.6, len(contexts) - 0.4))
        panel.set_xticks(range(len(contexts)), contexts, rotation=45, ha="right", rotation_mode="anchor")
        panel.axhline(0, color=GREY, linewidth=0.6, zorder=0)
        despine(panel)
    _legend(axes[0], prediction, colours)


def _violins(ax: Axes, values: Sequence[np.ndarray], offset: float, width: float, colour: str) -> None:
    """Draw a violin for each context that has such cells."""
    there = {i + offset: of_context for i, of_context in enumerate(values) if len(of_context)}
    if not there:
        return
    parts: Any = ax.violinplot(list(there.values()), list(there), widths=0.92 * width, showextrema=False)
    for body in parts["bodies"]:
        body.set(facecolor=colour, alpha=0.85, linewidth=0)
    middles, medians = np.array(list(there)), [np.median(of_context) for of_context in there.values()]
    ax.hlines(medians, middles - 0.3 * width, middles + 0.3 * width, color="black", linewidth=1)


def _legend(ax: Axes, prediction: Prediction, colours: dict[str, str]) -> None:
    from matplotlib.patches import Patch

    ax.legend(
        handles=[Patch(color=colour, label=name) for name, colour in colours.items()],
        title=f"{prediction.control} → {prediction.perturbation}",
        title_fontsize=9,
        fontsize=9,
        alignment="left",
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        frameon=False,
    )
