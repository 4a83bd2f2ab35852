"""Control cells and what a perturbation does to cells like them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

PAIRINGS = ("random", "nearest", "ot")
NONE = ""
"""Perturbation of cells that are not looked at."""
ALIKE = 30
"""Control cells whose partners one control cell learns from, where partners are chosen."""
MOST_MATCHED = 2000
"""Cells of a context that are matched; their number squared is what matching costs."""
N_COMPONENTS = 30


@dataclass(frozen=True)
class Pairs:
    """Contexts in which perturbed cells stand beside control cells.

    Attributes
    ----------
    log
        Cells × genes, log1p counts per 10,000.
    context, perturbation
        Those of each cell.
    control
        Value of ``perturbation`` of control cells.
    min_cells
        Fewest control and perturbed cells of a context that say what changes in it.
    """

    log: sparse.csr_matrix
    context: np.ndarray
    perturbation: np.ndarray
    control: str
    min_cells: int

    @cached_property
    def contexts(self) -> list[str]:
        """Contexts with enough control cells, in order."""
        names, n = np.unique(self.context[self.perturbation == self.control], return_counts=True)
        return list(names[n >= self.min_cells])

    @cached_property
    def perturbations(self) -> list[str]:
        """Perturbations beside the control, in order."""
        return sorted(set(self.perturbation) - {self.control, NONE})

    def cells(self, context: str, perturbation: str) -> np.ndarray:
        """Numbers of the cells of one kind."""
        return np.flatnonzero((self.context == context) & (self.perturbation == perturbation))

    @cached_property
    def known(self) -> list[tuple[str, str]]:
        """Context and perturbation of which there are enough cells."""
        pairs = ((context, name) for context in self.contexts for name in self.perturbations)
        return [pair for pair in pairs if len(self.cells(*pair)) >= self.min_cells]

    @cached_property
    def control_means(self) -> np.ndarray:
        """Mean of the control cells of each context (contexts × genes)."""
        return np.stack([self._mean(context, self.control) for context in self.contexts])

    @cached_property
    def shifts(self) -> np.ndarray:
        """Difference of the means (contexts × perturbations × genes); NaN where there are too few cells."""
        shifts = np.full((len(self.contexts), len(self.perturbations), self.log.shape[1]), np.nan)
        for context, name in self.known:
            i, j = self.contexts.index(context), self.perturbations.index(name)
            shifts[i, j] = self._mean(context, name) - self.control_means[i]
        return shifts

    def shift(self, context: str, perturbation: str) -> np.ndarray:
        """Difference of the means of one pair (genes)."""
        return self.shifts[self.contexts.index(context), self.perturbations.index(perturbation)]

    def size(self, context: str, perturbation: str) -> int:
        """Count the control or the perturbed cells, whichever are fewer."""
        return min(len(self.cells(context, self.control)), len(self.cells(context, perturbation)))

    def _mean(self, context: str, perturbation: str) -> np.ndarray:
        return np.asarray(self.log[self.cells(context, perturbation)].mean(axis=0), dtype=np.float64).ravel()


@dataclass(frozen=True)
class Matched:
    """Control cells of one context, each with its perturbed partner, and the control cells most like it.

    Attributes
    ----------
    controls
        Numbers of the control cells.
    partners
        Number of the perturbed partner of each.
    alike
        Places, among ``controls``, of the control cells most like each one (controls × some).
    """

    controls: np.ndarray
    partners: np.ndarray
    alike: np.ndarray

    def change(self, log: sparse.csr_matrix, place: int) -> np.ndarray:
        """Mean difference between partner and control over the cells most like one of them (genes)."""
        here = self.alike[place]
        difference = log[self.partners[here]].mean(axis=0) - log[self.controls[here]].mean(axis=0)
        return np.asarray(difference, dtype=np.float64).ravel()


def match(pairs: Pairs, context: str, perturbation: str, *, pairing: str, rng: np.random.Generator) -> Matched:
    """Choose a perturbed partner for each control cell of a context.

    Cells are compared in the principal components of the context, from which the means of control and perturbed cells have been
    taken out: partners are to have the same place among their like, not the same expression.

    Parameters
    ----------
    pairs
        The cells.
    context, perturbation
        Which of them.
    pairing
        ``"nearest"``: the most similar perturbed cell. ``"ot"``: the assignment of perturbed cells to control cells, each as
        often as the others, with the least sum of squared distances (optimal transport).
    rng
        Draws cells where there are too many, and which perturbed cells stand twice where there are too few.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist
    from sklearn.decomposition import TruncatedSVD

    controls, perturbed = (
        rng.permutation(pairs.cells(context, name))[:MOST_MATCHED] for name in (pairs.control, perturbation)
    )
    blocks = [pairs.log[cells].toarray() for cells in (controls, perturbed)]
    centred = np.vstack([block - block.mean(axis=0) for block in blocks])
    points = TruncatedSVD(min(N_COMPONENTS, min(centred.shape) - 1), random_state=0).fit_transform(centred)
    before, after = points[: len(controls)], points[len(controls) :]
    if pairing == "nearest":
        partner = cdist(before, after, "sqeuclidean").argmin(axis=1)
    else:
        # As many places as there are control cells; every perturbed cell fills as many of them as the others, give or take one.
        places = np.resize(rng.permutation(len(after)), len(before))
        partner = places[linear_sum_assignment(cdist(before, after[places], "sqeuclidean"))[1]]
    n_alike = min(ALIKE, len(controls))
    alike = np.argsort(cdist(before, before, "sqeuclidean"), axis=1, kind="stable")[:, :n_alike]
    return Matched(controls, perturbed[partner], alike)
