"""Groups of the cells at hand, and how much of them fits into a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from sc_c2s import _keys
from sc_c2s.data import Cells, combined
from sc_c2s.sentences.inverse import log_expression
from sc_c2s.training.groups import Groups

from ._params import columns

if TYPE_CHECKING:
    from sc_c2s.engine import Speaker

ALL = "all cells"
"""Name of the group that is all cells."""
FEWEST_GENES = 5
"""Genes of a cell below which a prompt says nothing."""


def read_groups(
    cells: Cells,
    *,
    groupby: str | Sequence[str] | None,
    groups: Iterable[str] | None = None,
    label_key: str | None = None,
    sample_key: str | None = None,
    subgroup_key: str | None = None,
    context: Sequence[str] = (),
    organism: str | None = None,
) -> Groups:
    """Read the groups of some cells, and the facts of each.

    Parameters
    ----------
    cells
        The cells.
    groupby
        Column of `obs` with the groups, or several, whose combinations are the groups; ``None`` for all cells as one.
    groups
        Those that are asked about; ``None`` for all.
    label_key
        Column of `obs` with cell types, for the composition.
    sample_key, subgroup_key
        Columns of `obs` by which the cells that are shown are drawn.
    context
        Columns of `obs` that say where cells are from.
    organism
        Whose cells they are, if known.
    """
    names = columns(groupby)
    group = (
        combined([cells.labels(name) for name in names])
        if names
        else pd.Series(ALL, index=cells.obs_names, dtype=object)
    ).to_numpy(dtype=object)
    found = sorted({name for name in group if isinstance(name, str)})
    if not found:
        raise ValueError(f"No cell has a value in obs[{groupby!r}], so there is no group to ask about.")
    wanted = found if groups is None else list(dict.fromkeys(map(str, [groups] if isinstance(groups, str) else groups)))
    if not wanted:
        raise ValueError("groups= is empty: name some, or None for all.")
    if unknown := [name for name in wanted if name not in found]:
        raise ValueError(f"There is no group {unknown[0]!r}; there are {', '.join(map(repr, found[:20]))}.")
    x, log = expression(cells)

    def column(key: str | None) -> np.ndarray | None:
        return None if key is None else cells.labels(key).to_numpy(dtype=object)

    return Groups.gather(
        x,
        log,
        group,
        wanted,
        genes=np.asarray(cells.genes),
        cells=np.asarray(cells.obs_names),
        labels=column(label_key),
        context={name: cells.labels(name).to_numpy(dtype=object) for name in context},
        strata=column(subgroup_key),
        samples=column(sample_key),
        organism=organism,
    )


def expression(cells: Cells) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Read the expression of all cells as it is, and in log1p counts per 10,000 of the whole cell."""
    parts, logs = [], []
    for _, block in cells.chunks(all_genes=True):
        log = log_expression(block)
        parts.append(block if cells.mask is None else block[:, cells.mask])
        logs.append(log if cells.mask is None else log[:, cells.mask])
    return sparse.vstack(parts, format="csr"), sparse.vstack(logs, format="csr")


def label_column(cells: Cells, label_key: str | None) -> str | None:
    """Column that the composition is taken from: the one named, else what ``tl.annotate`` wrote, else none."""
    if label_key is not None:
        cells.obs(label_key)
        return label_key
    return _keys.CELL_TYPE if _keys.CELL_TYPE in cells.adata.obs else None


def fit_genes(
    write: Callable[[int], Sequence[str]], engine: Speaker, *, most: int, max_tokens: int, n_cells: int
) -> int:
    """Find the most genes a cell with which every prompt fits into the model's context.

    Parameters
    ----------
    write
        Writes all prompts with so many genes a cell.
    engine
        What will read them.
    most
        Most genes a cell.
    max_tokens
        Tokens to be left for an answer.
    n_cells
        Cells in a prompt, for the message.

    Returns
    -------
    Number of genes.

    Raises
    ------
    ValueError
        If even a handful of genes do not fit.
    """
    context = engine.context
    if context is None:
        return most

    def fits(n_genes: int) -> bool:
        return bool(engine.count(write(n_genes)).max(initial=0) + max_tokens <= context)

    if fits(most):
        return most
    low, high = 0, most  # the first fits or is none, the second does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    if low < min(FEWEST_GENES, most):
        raise ValueError(
            f"{n_cells} cells with {FEWEST_GENES} genes each do not fit into the model's context of {context} tokens: show fewer "
            "cells with n_cells=, or take a model with gene tokens."
        )
    return low
