"""``tl.annotate(level="group")``: one label for a set of cells, which a model is shown together."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sc_c2s._random import named_rng
from sc_c2s.data import Cells
from sc_c2s.engine import Speaker
from sc_c2s.prompts import group_prompt
from sc_c2s.sentences.groups import draw_cells, members_by_name
from sc_c2s.sentences.recipe import Recipe
from sc_c2s.sentences.symbols import guess_organism

from ._annotator import Annotator
from ._groups import fit_genes
from ._narrator import N_CELLS, N_GENES

LONGEST_ANSWER = 64
"""Tokens left for a label."""


def ask_groups(
    cells: Cells, annotator: Annotator, group: pd.Series, *, n_cells: int | None, seed: int, batch_size: int | None
) -> tuple[pd.DataFrame, np.ndarray]:
    """Ask for the label of each group.

    Parameters
    ----------
    cells
        The cells.
    annotator
        The model, and the labels to choose from.
    group
        Group of each cell, NaN where there is none.
    n_cells
        Cells of each group that are shown; by default 20.
    seed
        Draws them, of each group by itself.
    batch_size
        Groups in a batch.

    Returns
    -------
    A row for each group with the cells and genes that were shown; and the probabilities (groups × labels), NaN where no cell has a
    count in a gene that the model reads.
    """
    x, names = cells.matrix(), sorted(group.dropna().unique())
    if not names:
        raise ValueError("No cell is in a group: name a column of obs with groups in group_key=.")
    obs_names = np.asarray(cells.obs_names)
    n_shown = N_CELLS if n_cells is None else n_cells
    members = members_by_name(obs_names, group.to_numpy(dtype=object), names)
    drawn = {name: draw_cells(some, n_shown, rng=named_rng(seed, name)) for name, some in members.items()}
    known = annotator.recipe
    recipe = Recipe(n_genes=N_GENES, organism=guess_organism(cells.genes)) if known is None else known
    vocabulary = cells.genes if annotator.genes is None else np.array(annotator.genes, dtype=object)

    def sentences(some: np.ndarray, n_genes: int) -> list[str]:
        shorter = Recipe(n_genes=n_genes, ties=recipe.ties, organism=recipe.organism)
        written = shorter.write(x[some], cells.genes, obs_names[some], vocabulary=vocabulary)
        return [sentence for sentence in written if sentence]

    def write(n_genes: int) -> list[str]:
        told = [sentences(drawn[name], n_genes) for name in names if n_told[name]]
        return [
            group_prompt(one, family=annotator.family, groupby=annotator.groupby, organism=recipe.organism)
            for one in told
        ]

    n_told = {name: len(sentences(some, 1)) for name, some in drawn.items()}
    asked = np.array(list(n_told.values())) > 0
    n_genes = min(recipe.n_genes or N_GENES, N_GENES)
    if isinstance(annotator.engine, Speaker):
        most = max(n_told.values())
        n_genes = fit_genes(write, annotator.engine, most=n_genes, max_tokens=LONGEST_ANSWER, n_cells=most)
    proba = np.full((len(names), len(annotator.labels)), np.nan)
    if asked.any():
        proba[asked] = annotator.probabilities(write(n_genes), batch_size)
    return pd.DataFrame({"n_cells": list(n_told.values()), "n_genes": n_genes}, index=pd.Index(names)), proba
