"""A prediction in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sc_c2s import _keys
from sc_c2s.data import open_results

from ._axes import hand_over
from ._perturbed_changes import N_BESIDE, contexts_to_show, draw_changes
from ._perturbed_embedding import draw_embedding, place_cells
from ._perturbed_program import draw_programs, program_size, programs_of
from ._perturbed_table import draw_table, scores_of, table_size
from ._prediction import COLOURS, open_prediction

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from mudata import MuData

_LEAST_WIDTH = 10.0
_CHANGES = 3.6  # width of a panel, and height of a row, in inches
_TITLE = 0.4


def perturbation(
    data: AnnData | MuData,
    *,
    context: str | Sequence[str] | None = None,
    gene_sets: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
    n_labels: int = 10,
    n_cells: int = 1000,
    rng: int = 0,
    key: str = _keys.PERTURBED,
    mod: str | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> list[Axes] | Figure | None:
    """Plot a prediction and the real cells in one figure.

    From top to bottom: :func:`perturbed_changes`, :func:`perturbed_embedding`, :func:`perturbed_program` if there are
    gene sets, and :func:`perturbed_table` of ``uns[key]["metrics"]``.

    Parameters
    ----------
    data
        Cells whose perturbation :func:`sc_c2s.tl.perturb` predicted, among them real perturbed ones.
    context
        Context whose genes to show, or several. By default the eight with most cells.
    gene_sets
        Genes of a program, or of several by name (as of :func:`sc_c2s.metrics.read_gmt`).
    n_labels
        Number of genes to name: those that really change most, up or down.
    n_cells
        Most cells of each kind in the embedding, drawn at random.
    rng
        Seed of the embedding.
    key
        Name of the prediction (its ``key_added``).
    mod
        Modality, where ``data`` is a MuData.
    show
        Show the plot. By default as scanpy's settings say.
    return_fig
        Return the figure.

    Returns
    -------
    All axes in this order if ``show=False``, the figure if ``return_fig=True``, else None.

    Raises
    ------
    ValueError
        If there are no real perturbed cells.
    """
    import matplotlib.pyplot as plt

    prediction = open_prediction(data, key=key, mod=mod)
    contexts = contexts_to_show(prediction, context)
    stored = open_results(data, mod).adata.uns[key]
    if "metrics" not in stored:
        raise ValueError(
            f"uns[{key!r}] holds no metrics: run tl.perturb again on data that hold the real perturbed cells."
        )
    scores = scores_of(stored["metrics"], "pearson_delta")
    programs = {} if gene_sets is None else programs_of(gene_sets, prediction)
    placed = place_cells(prediction, n_cells=n_cells, rng=rng)
    (beside, height), (legend, below) = program_size(prediction)
    width = max(
        _LEAST_WIDTH,
        _CHANGES * min(len(contexts), N_BESIDE),
        table_size(scores)[0],
        beside + legend if programs else 0,
    )
    heights = [
        _CHANGES * -(-len(contexts) // N_BESIDE),
        0.3 * width,  # three panels, about as high as wide
        *([height * len(programs) + below] if programs else []),
        table_size(scores)[1],
    ]
    figure = plt.figure(figsize=(width, sum(heights) + _TITLE), layout="constrained")
    figure.suptitle(f"{prediction.control} → {prediction.perturbation}")
    rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    changes = _grid(rows[0], len(contexts), N_BESIDE)
    embedding = _grid(rows[1], len(placed), len(placed))
    draw_embedding(embedding, prediction, placed, COLOURS, rng=rng)
    scored = _grid(rows[2], len(programs), 1, sharex=True) if programs else []
    if programs:
        draw_programs(scored, prediction, programs, COLOURS)
    table = _grid(rows[-1], 1, 1)
    draw_table(table[0], scores)
    # Last, as the names of genes are placed by the layout of everything.
    draw_changes(changes, prediction, contexts, n_labels=n_labels)
    return hand_over([*changes, *embedding, *scored, *table], given=None, show=show, return_fig=return_fig)


def _grid(figure: SubFigure, n: int, ncols: int, *, sharex: bool = False) -> list[Axes]:
    """Axes row by row."""
    ncols = min(n, ncols)
    grid = figure.subplots(-(-n // ncols), ncols, squeeze=False, sharex=sharex)
    for empty in grid.flat[n:]:
        empty.remove()
    return list(grid.flat[:n])
