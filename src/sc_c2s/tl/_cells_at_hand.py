"""Control cells of the data at hand, as a model that perturbs them reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from sc_c2s.data import Cells, combined
from sc_c2s.metrics.context_shifts import BLEND, NEIGHBOURS, SIMILARITY, Target
from sc_c2s.metrics.context_weights import similarity_weights
from sc_c2s.sentences.changes import at_level, in_proportion
from sc_c2s.sentences.inverse import log_expression

from ._perturber import Perturber

ALL = "all"
"""Context of cells that are not told apart."""
MOST_LOOKED_AT = 500
"""Control cells of a context whose neighbours are looked for."""
IN_PROPORTION = "falls in proportion"
"""The similarity-weighted shift, its falls at the level that the genes have in the cells at hand."""


@dataclass(frozen=True)
class CellsAtHand:
    """What was read of the data.

    Attributes
    ----------
    x, log
        Expression of all cells as it was given, and in log1p counts per 10,000, with the columns that the model knows.
    genes
        Names of these columns.
    names
        Names of the cells.
    context, condition
        Those of each cell; NaN where there is none.
    controls
        Numbers of the control cells.
    condition_key, control, groupby
        Where that was read from.
    """

    x: sparse.csr_matrix
    log: sparse.csr_matrix
    genes: np.ndarray
    names: np.ndarray
    context: np.ndarray
    condition: np.ndarray
    controls: np.ndarray
    condition_key: str
    control: str
    groupby: tuple[str, ...]

    @property
    def contexts(self) -> list[str]:
        """Contexts of the control cells, in order."""
        return sorted(set(self.context[self.controls]))

    def of(self, context: str, condition: str) -> np.ndarray:
        """Numbers of the cells of one kind."""
        return np.flatnonzero((self.context == context) & (self.condition == condition))

    def mean(self, cells: np.ndarray) -> np.ndarray:
        """Mean log expression of some cells."""
        return np.asarray(self.log[cells].mean(axis=0), dtype=np.float64).ravel()


def read_cells(
    cells: Cells, perturber: Perturber, condition_key: str, control: str, groupby: str | Sequence[str] | None
) -> CellsAtHand:
    """Read expression, contexts and conditions; without a column of perturbations all cells are control cells."""
    there = set(cells.adata.obs.columns)
    if groupby is None:
        groupings = tuple(name for name in perturber.groupby if name in there)
    else:
        groupings = (groupby,) if isinstance(groupby, str) else tuple(groupby)
    contexts = (
        combined([cells.labels(name) for name in groupings])
        if groupings
        else pd.Series(ALL, index=cells.obs_names, dtype=object)
    )
    if condition_key in there or condition_key != perturber.condition_key:
        condition = cells.labels(condition_key).to_numpy(dtype=object)
    else:
        condition = np.full(cells.n_obs, control, dtype=object)
    known = np.isin(cells.genes.astype(str), perturber.genes.astype(str))
    if not known.any():
        raise ValueError(
            f"None of the model's genes ({perturber.genes[0]!r}, …) is among those of the data ({cells.genes[0]!r}, …): name the "
            "column of var with the model's kind of symbols with gene_symbols=."
        )
    parts, logs = [], []
    for _, block in cells.chunks():
        parts.append(block[:, known])
        # The whole cell sets the scale, the genes that the model knows are kept.
        logs.append(log_expression(block)[:, known])
    controls = np.flatnonzero((condition == control) & contexts.notna().to_numpy())
    if not len(controls):
        raise ValueError(
            f"No cell has the value {control!r} in obs[{condition_key!r}] and a context: say with control= and condition_key= which "
            "cells are control cells."
        )
    return CellsAtHand(
        x=sparse.vstack(parts, format="csr"),
        log=sparse.vstack(logs, format="csr"),
        genes=np.asarray(cells.genes)[known],
        names=np.asarray(cells.obs_names),
        context=contexts.to_numpy(dtype=object),
        condition=condition,
        controls=controls,
        condition_key=condition_key,
        control=control,
        groupby=groupings,
    )


def control_mean(seen: CellsAtHand, perturber: Perturber, context: str) -> np.ndarray:
    """Mean of the control cells of a context for the genes of the model; those that the data lack are as in training."""
    mean = np.nanmean(perturber.control_means, axis=0).astype(np.float64)
    mean[columns_of(seen, perturber)] = seen.mean(seen.of(context, seen.control))
    return mean


def means_of(seen: CellsAtHand, perturber: Perturber, cells: np.ndarray) -> np.ndarray:
    """Mean of the control cells of the context of each of some cells (cells × genes of the model)."""
    own = {context: control_mean(seen, perturber, context) for context in dict.fromkeys(seen.context[cells])}
    return np.stack([own[context] for context in seen.context[cells]])


def columns_of(seen: CellsAtHand, perturber: Perturber) -> np.ndarray:
    """Place of the genes at hand among those of the model."""
    return np.asarray(pd.Index(perturber.genes).get_indexer(pd.Index(seen.genes)))


def novelty(seen: CellsAtHand, perturber: Perturber, context: str) -> float:
    """How far a context is from all that the model was trained on, see :meth:`Perturber.novelty`."""
    return perturber.novelty(control_mean(seen, perturber, context))


def targets_of(seen: CellsAtHand, perturber: Perturber) -> list[Target]:
    """Control cells of each context, for methods that need no model."""
    columns, targets = columns_of(seen, perturber), []
    for context in seen.contexts:
        cells = seen.of(context, seen.control)
        some = cells[np.unique(np.linspace(0, len(cells) - 1, MOST_LOOKED_AT).astype(int))]
        targets.append(Target(control_mean(seen, perturber, context), perturber.project(seen.log[some], columns)))
    return targets


def expected_shifts(
    targets: list[Target], perturber: Perturber, perturbation: str, columns: np.ndarray
) -> dict[str, np.ndarray]:
    """Shift that each method without a model expects in each context (contexts × genes at hand)."""
    known, of = perturber.known, perturber.seen(perturbation)
    found: dict[str, list[np.ndarray]] = {"no change": [np.zeros(len(perturber.genes))] * len(targets)}
    for target in targets:
        moved = known.predict(of, target)
        moved[NEIGHBOURS] = moved[NEIGHBOURS].mean(axis=0)
        alike = similarity_weights(of.controls, target.mean)
        level = alike @ of.controls
        proportional = at_level(in_proportion(moved[SIMILARITY], level, level), target.mean, level)
        for name, shift in (
            moved | {BLEND: known.blended(moved, of, perturber.blend), IN_PROPORTION: proportional}
        ).items():
            found.setdefault(name, []).append(shift)
    return {name: np.stack(shifts)[:, columns] for name, shifts in found.items()}
