"""Cells before, after and as predicted, in one embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy import sparse

from sc_c2s import _keys

from ._axes import despine, hand_over, open_panels
from ._generated_embedding import _BEHIND, _dots, _same_limits
from ._palette import Palette, colour_conditions, legend_of, legend_width
from ._prediction import COLOURS, CONTROL, PREDICTED, REAL, Prediction, open_prediction

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

_OTHERS = "the others"


def perturbed_embedding(
    data: AnnData | MuData,
    *,
    color: Literal["kind", "context"] = "kind",
    n_cells: int = 1000,
    n_comps: int = 50,
    rng: int = 0,
    key: str = _keys.PERTURBED,
    mod: str | None = None,
    palette: Palette | None = None,
    size: float | None = None,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> list[Axes] | Figure | None:
    """Plot control cells, real perturbed and predicted cells in one UMAP, side by side.

    Each panel shows one kind of cells on top of the others (light grey), on the same axes. The UMAP is one of all of
    them, on their principal components in log1p counts per 10,000. Without real perturbed cells their panel is left
    out.

    Parameters
    ----------
    data
        Cells whose perturbation :func:`sc_c2s.tl.perturb` predicted. Those of contexts without a prediction are left
        out.
    color
        A colour for each ``"kind"`` of cells, or for each ``"context"``.
    n_cells
        Most cells of each kind, drawn at random.
    n_comps
        Number of principal components.
    rng
        Seed of the draw, components, UMAP and the order in which dots are drawn.
    key
        Name of the prediction (its ``key_added``).
    mod
        Modality, where ``data`` is a MuData.
    palette
        Colours: a colour map, a list, or a mapping from ``"control"``, ``"real"`` and ``"predicted"``, or from the
        contexts. By default those that scanpy stored in ``uns`` for these, or its palette.
    size
        Area of a dot in square points.
    ax
        Axes to draw on, three, or two without real perturbed cells.
    show
        Show the plot. By default as scanpy's settings say, unless ``ax`` is given.
    return_fig
        Return the figure.

    Returns
    -------
    The axes of each kind if ``show=False``, the figure if ``return_fig=True``, else None.
    """
    if color not in ("kind", "context"):
        raise ValueError(f"color must be 'kind' or 'context', not {color!r}.")
    prediction = open_prediction(data, key=key, mod=mod)
    placed = place_cells(prediction, n_cells=n_cells, n_comps=n_comps, rng=rng)
    by_context = color == "context"
    if palette is None:
        palette = prediction.context_colours if by_context else COLOURS
    colours = colour_conditions(prediction.contexts if by_context else list(placed), palette)
    n = len(placed)
    margin = (legend_width([*colours, _OTHERS]), 0)
    given, axes = ax, open_panels(ax, n, ncols=n, size=(3.7, 3.9), margin=margin, sharex=True, sharey=True)
    draw_embedding(axes, prediction, placed, colours, by_context=by_context, rng=rng, size=size)
    return hand_over(axes, given=given, show=show, return_fig=return_fig)


class Placed(NamedTuple):
    """Cells in the embedding."""

    places: np.ndarray
    contexts: np.ndarray


def draw_embedding(
    axes: Sequence[Axes],
    prediction: Prediction,
    placed: Mapping[str, Placed],
    colours: Mapping[str, str],
    *,
    by_context: bool = False,
    rng: int = 0,
    size: float | None = None,
) -> None:
    """Draw a kind of cells on each of the axes, with colours for the kinds or for the contexts."""
    everything = np.concatenate([kind.places for kind in placed.values()])
    size = min(60_000 / len(everything), 40) if size is None else size
    for panel, (name, kind) in zip(axes, placed.items(), strict=True):
        others = np.concatenate([other.places for other in placed.values() if other is not kind])
        _dots(panel, others, np.full(len(others), _BEHIND), size, rng)
        shown = np.array([colours[context if by_context else name] for context in kind.contexts])
        _dots(panel, kind.places, shown, size, rng)
        panel.set_title(f"{_title(prediction, name)}\n{len(shown):,} cells", fontsize="medium")
        panel.set(xticks=[], yticks=[], xlabel="UMAP1", ylabel="UMAP2")
        despine(panel)
    _same_limits(axes, everything)
    legend_of(axes[-1], {**colours, _OTHERS: _BEHIND})


def _title(prediction: Prediction, kind: str) -> str:
    return {
        CONTROL: f"before ({prediction.control})",
        REAL: f"after {prediction.perturbation}, real",
        PREDICTED: f"after {prediction.perturbation}, predicted",
    }[kind]


def place_cells(prediction: Prediction, *, n_cells: int, rng: int, n_comps: int = 50) -> dict[str, Placed]:
    """Give cells of each kind, drawn at random, a place in a UMAP of all."""
    if n_cells < 1:
        raise ValueError(f"n_cells={n_cells} has to be 1 or more.")
    generator = np.random.default_rng(rng)
    drawn = {name: generator.permutation(len(kind))[:n_cells] for name, kind in prediction.there.items()}
    x = [sparse.csr_matrix(prediction.kinds[name].x[rows]) for name, rows in drawn.items()]
    places = np.split(
        _umap(sparse.vstack(x, format="csr", dtype=np.float32), n_comps, rng),
        np.cumsum([len(rows) for rows in drawn.values()])[:-1],
    )
    return {
        name: Placed(here, prediction.kinds[name].contexts[rows])
        for here, (name, rows) in zip(places, drawn.items(), strict=True)
    }


def _umap(x: sparse.csr_matrix, n_comps: int, rng: int) -> np.ndarray:
    import scanpy as sc
    from anndata import AnnData

    n_comps = min(n_comps, min(x.shape) - 1)
    # UMAP begins with two eigenvectors of the graph, which three cells do not have.
    if n_comps < 2 or x.shape[0] < 5:
        raise ValueError(
            f"An embedding needs five cells and three genes or more; here are {x.shape[0]} and {x.shape[1]}."
        )
    cells = AnnData(x)
    sc.pp.pca(cells, n_comps=n_comps, random_state=rng)
    sc.pp.neighbors(cells, n_neighbors=min(15, cells.n_obs - 1), use_rep="X_pca", random_state=rng)
    sc.tl.umap(cells, random_state=rng)
    return cells.obsm["X_umap"]
