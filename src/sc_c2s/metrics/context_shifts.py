"""What was seen of perturbations in some contexts, and what every method that needs no trained model makes of it in another."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .context_weights import (
    LEAST_FOR_BLEND,
    blend_weights,
    nearest_weights,
    neighbour_weights,
    ridge_penalty,
    ridge_weights,
    similarity_weights,
)

MEAN_SHIFT, NEAREST, SIMILARITY = "mean shift", "nearest context", "similarity-weighted shift"
NEIGHBOURS, RIDGE, BLEND = "k-NN on control cells", "ridge", "best blend"
METHODS = (MEAN_SHIFT, NEAREST, SIMILARITY, NEIGHBOURS, RIDGE)
N_COMPS = 30
"""Principal components in which neighbours are looked for."""

Values = NDArray[np.float64]
Contexts = tuple[int, ...]


@dataclass(frozen=True)
class Target:
    """Control cells of one context that is to be predicted.

    Attributes
    ----------
    mean
        Their mean (genes).
    points
        Cells × components.
    shares
        Contexts of the neighbours, once for all perturbations that were seen in the same contexts.
    """

    mean: Values
    points: Values
    shares: dict[Contexts, Values] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """Shifts of a perturbation in the contexts that have it.

    Attributes
    ----------
    contexts
        Numbers of these contexts.
    controls
        Mean of their control cells (contexts × genes).
    shifts
        Contexts × genes.
    average
        What "mean shift" predicts: the mean of the shifts, but for a perturbation that was not seen.
    """

    contexts: Contexts
    controls: Values
    shifts: Values
    average: Values

    @cached_property
    def penalty(self) -> float:
        """Penalty of the ridge regression."""
        return ridge_penalty(self.controls, self.shifts)

    def without(self, i: int) -> Seen:
        """Leave the context in place ``i`` out."""
        others = np.delete(np.arange(len(self.contexts)), i)
        shifts = self.shifts[others]
        return Seen(tuple(self.contexts[j] for j in others), self.controls[others], shifts, shifts.mean(axis=0))


@dataclass(frozen=True)
class ContextShifts:
    """Shifts of all perturbations.

    Attributes
    ----------
    controls
        Mean of the control cells of each context (contexts × genes).
    points
        Control cells of each context × components.
    perturbations
        What was seen of each perturbation; at least one.
    """

    controls: Values
    points: list[Values]
    perturbations: dict[str, Seen]
    _shares: dict[tuple[int, Contexts], Values] = field(default_factory=dict, repr=False)

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], names: list[str]) -> ContextShifts:
        """Read the arrays that :func:`~sc_c2s.training.shifts.kept_shifts` keeps, with the names of the perturbations."""
        controls, shifts = arrays["control_means"].astype(np.float64), arrays["shifts"].astype(np.float64)
        points = [arrays["points"][arrays["point_contexts"] == i].astype(np.float64) for i in range(len(controls))]
        found = cls(controls, points, {})
        for j, name in enumerate(names):
            contexts = tuple(int(i) for i in np.flatnonzero(~np.isnan(shifts[:, j, 0])))
            if contexts:
                found.perturbations[name] = found.of(contexts, shifts[[*contexts], j])
        return found

    def of(self, contexts: Contexts, shifts: Values) -> Seen:
        """Shifts that were seen in some of the contexts."""
        return Seen(contexts, self.controls[[*contexts]], shifts, shifts.mean(axis=0))

    @cached_property
    def unseen(self) -> Seen:
        """What is expected of a perturbation that no context has: the mean over those that they have."""
        every = self.perturbations.values()
        contexts = tuple(sorted({i for seen in every for i in seen.contexts}))
        shifts = np.array(
            [
                np.mean([one.shifts[one.contexts.index(i)] for one in every if i in one.contexts], axis=0)
                for i in contexts
            ]
        )
        return Seen(contexts, self.controls[[*contexts]], shifts, np.mean([one.average for one in every], axis=0))

    def seen(self, perturbation: str) -> Seen:
        """Give what was seen of a perturbation, or what is expected of one that was not."""
        return self.perturbations.get(perturbation) or self.unseen

    def predict(self, seen: Seen, target: Target) -> dict[str, Values]:
        """Shift by each method but the blend: one for all cells of the target (genes), or for each (cells × genes)."""
        if seen.contexts not in target.shares:
            pool = self._pool(seen.contexts)
            target.shares[seen.contexts] = neighbour_weights(*pool, target.points, n_contexts=len(seen.contexts))
        return self._methods(seen, target.mean, target.shares[seen.contexts])

    def blended(self, found: dict[str, Values], seen: Seen, weights: dict[str, float]) -> Values:
        """Sum of the methods with the weights of :meth:`blend`; the mean shift where too few contexts have the perturbation."""
        if len(seen.contexts) < LEAST_FOR_BLEND:
            return found[MEAN_SHIFT]
        return np.asarray(sum((weights[name] * shift for name, shift in found.items()), np.zeros(1)))

    def blend(self) -> dict[str, float]:
        """Weight of each method, from contexts that are left out in turn."""
        candidates, truth = [], []
        for seen in self.perturbations.values():
            if len(seen.contexts) >= LEAST_FOR_BLEND:
                for i, shift in enumerate(seen.shifts):
                    candidates.append(self._left_out(seen, i))
                    truth.append(shift)
        if not truth:
            return dict.fromkeys(METHODS, 0.0) | {MEAN_SHIFT: 1.0}
        columns = np.column_stack([np.concatenate([found[name] for found in candidates]) for name in METHODS])
        return dict(zip(METHODS, blend_weights(columns, np.concatenate(truth)).tolist(), strict=True))

    def _left_out(self, seen: Seen, i: int) -> dict[str, Values]:
        """Shift that each method predicts for the context in place ``i`` of those seen, from the others."""
        rest, here = seen.without(i), seen.contexts[i]
        if (here, rest.contexts) not in self._shares:  # the same for many perturbations
            shares = neighbour_weights(*self._pool(rest.contexts), self.points[here], n_contexts=len(rest.contexts))
            self._shares[here, rest.contexts] = shares.mean(axis=0)
        return self._methods(rest, self.controls[here], self._shares[here, rest.contexts])

    def _pool(self, contexts: Contexts) -> tuple[Values, NDArray[np.intp]]:
        points = [self.points[i] for i in contexts]
        return np.concatenate(points), np.repeat(np.arange(len(points)), [len(x) for x in points])

    @staticmethod
    def _methods(seen: Seen, target: Values, shares: Values) -> dict[str, Values]:
        weights = {
            NEAREST: nearest_weights(seen.controls, target),
            SIMILARITY: similarity_weights(seen.controls, target),
            NEIGHBOURS: shares,
            RIDGE: ridge_weights(seen.controls, target, penalty=seen.penalty),
        }
        return {MEAN_SHIFT: seen.average} | {name: weight @ seen.shifts for name, weight in weights.items()}
