"""Log fold changes of generated against those of real cells."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sc_c2s import _keys
from sc_c2s.metrics.fold_changes import fold_change_agreement, paired_fold_changes

from ._axes import BLUE, GREY, ORANGE, SKY, despine, hand_over, open_panels
from ._labels import label_points
from ._pair import open_pair

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData


def generated_fold_changes(
    data: AnnData | MuData,
    *,
    groupby: str | Sequence[str],
    generated: AnnData | None = None,
    group: str | Sequence[str] | None = None,
    n_labels: int = 10,
    key: str = _keys.GENERATED,
    layer: str | None = None,
    use_raw: bool = False,
    gene_symbols: str | None = None,
    mod: str | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> list[Axes] | Figure | None:
    """Plot the log fold change of every gene in generated against that in real cells.

    A fold change is that of a condition against all others. A dot is a gene that 5 % of the real cells of the condition
    or of the others express. Dots on the diagonal mean that the difference is kept; those between it and the horizontal
    axis, that it shrinks. Slope and correlation are those of :func:`sc_c2s.metrics.fold_change_agreement`.

    Parameters
    ----------
    data
        Real cells: counts, which are brought to log1p counts per 10,000, or values on that scale.
    groupby
        Column of ``obs`` with the conditions, or several columns, whose combinations are the conditions. Those that both
        sides have are compared.
    generated
        Generated cells. By default those that :func:`sc_c2s.tl.generate` stored beside the real ones.
    group
        Condition to show, or several (of several columns: joined by ``" | "``). By default all, a panel for each.
    n_labels
        Number of genes to name: those with the largest fold changes in real cells, up or down.
    key
        Name of the stored generated cells (their ``key_added``).
    layer
        Layer with the real cells' expression, in place of ``X``.
    use_raw
        Read it from ``raw.X``.
    gene_symbols
        Column of ``var`` with the gene names, where ``var_names`` are ids.
    mod
        Modality, where ``data`` is a MuData.
    ax
        Axes to draw on, one for each condition that is shown.
    show
        Show the plot. By default as scanpy's settings say, unless ``ax`` is given.
    return_fig
        Return the figure.

    Returns
    -------
    The axes of each condition if ``show=False``, the figure if ``return_fig=True``, else None.
    """
    pair = open_pair(
        data,
        generated,
        groupby=groupby,
        key=key,
        mod=mod,
        layer=layer,
        use_raw=use_raw,
        gene_symbols=gene_symbols,
    )
    groups = pair.shared if group is None else [group] if isinstance(group, str) else list(group)
    if not groups:
        raise ValueError("There is no group to show: name some with group=, or leave it out for all.")
    if missing := [name for name in groups if name not in pair.shared]:
        raise KeyError(
            f"There is no group {missing[0]!r} on both sides; there are: {', '.join(map(repr, pair.shared))}."
        )
    sides = pair.real.x, pair.real.conditions, pair.generated.x, pair.generated.conditions
    pairs, scores = paired_fold_changes(*sides), fold_change_agreement(*sides).to_dict(orient="index")

    given, axes = ax, open_panels(ax, len(groups), ncols=3, size=(4.2, 4.2))
    for panel, name in zip(axes, groups, strict=True):
        _scatter(panel, pairs[name], scores[name])
        panel.set_title(name, fontsize="medium")
    # Names are placed when all panels are drawn: until then the layout moves.
    axes[0].figure.get_figure(root=True).draw_without_rendering()
    for panel, name in zip(axes, groups, strict=True):
        found = pairs[name]
        top = found.loc[found["real"].abs().sort_values(ascending=False, kind="stable").index[:n_labels]]
        panel.scatter(top["real"], top["other"], color=BLUE, s=14, linewidths=0)
        label_points(panel, top.to_numpy(), list(pair.genes[top.index]))
    return hand_over(axes, given=given, show=show, return_fig=return_fig)


def _scatter(ax: Axes, found: pd.DataFrame, score: Mapping[Hashable, float]) -> None:
    low, high = (float(found.to_numpy().min(initial=-1)), float(found.to_numpy().max(initial=1)))
    low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)
    for line in (ax.axhline, ax.axvline):
        line(0, color=GREY, linewidth=0.6, zorder=1)
    ax.plot([low, high], [low, high], color=GREY, linestyle="--", linewidth=1, zorder=1)
    ax.scatter(found["real"], found["other"], color=SKY, s=10, alpha=0.6, linewidths=0, rasterized=True)
    if len(found):
        x = np.array([low, high])
        fitted = found["other"].mean() + score["lfc_slope"] * (x - found["real"].mean())
        ax.plot(x, fitted, color=ORANGE, linewidth=1.2, zorder=1.5)
    ax.set(
        xlim=(low, high),
        ylim=(low, high),
        aspect="equal",
        xlabel="log2 fold change, real cells",
        ylabel="log2 fold change, generated cells",
    )
    ax.text(
        0.03,
        0.97,
        f"Pearson {score['lfc_pearson']:.2f}\nslope {score['lfc_slope']:.2f}\n{score['n_genes']:,.0f} genes",
        transform=ax.transAxes,
        va="top",
        fontsize=9,
    )
    despine(ax)
