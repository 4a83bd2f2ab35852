"""A reward for cells that lie where real cells lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sc_c2s import metrics

from .answers import Values, rows_of

Rewards = list[float | None]

_MEASURES = ("mmd", "mse")


@dataclass(frozen=True, eq=False)
class Distribution:
    r"""Reward cells that lie where real cells lie.

    ``"mse"`` is :math:`-\|x - \bar y\|^2`, with :math:`\bar y` the mean of the real cells: 0 at most. All answers do best at the
    mean, so cells that are generated for it become alike.

    ``"mmd"`` is what an answer does to the negative squared maximum mean discrepancy (:func:`sc_c2s.metrics.mmd`) of its group,
    the answers to the same prompt:

    .. math:: 2 \left(\mathrm{mean}_y\, k(x, y) - \mathrm{mean}_{x'}\, k(x, x')\right)

    over the real cells :math:`y` and the *other* answers :math:`x'`, from -2 to 2. An answer is pulled to the real cells and
    pushed from its like. Both cancel everywhere only where the answers are spread as the real cells are; with half the push,
    which would make the rewards of a group add up to the discrepancy, they cancel too near the mode, since an answer is never
    paid for pushing others. GRPO subtracts the mean of the group, which weakens the push by about 1 / (group - 1): give groups of
    eight answers or more. With a single one there is nothing to be pushed from, and all go to the mode.

    The cost is that of `embed`, and O((real cells + group) · dimensions) for each answer; for the bandwidth once
    O(real cells²). Only what `embed` sees counts: pair this with :func:`validity`. Answers that it cannot place (NaN) get
    the least, and do not push others.

    Parameters
    ----------
    points
        Real cells of each kind, cells × dimensions, in the space of `embed`.
    embed
        Turns answers to points: a row for each, NaN for those that are no cell.
    measure
        ``"mmd"`` or ``"mse"``.
    bandwidth
        Width of the Gaussian kernel; by default :func:`sc_c2s.metrics.median_bandwidth` of the real cells of each kind.
    """

    points: Mapping[str, Values]
    embed: Callable[[Sequence[str]], Values]
    measure: str = "mmd"
    bandwidth: float | None = None

    __name__ = "distribution"  # what TRL calls it in its logs

    def __post_init__(self) -> None:
        if self.measure not in _MEASURES:
            raise ValueError(f"measure={self.measure!r} is none of {', '.join(_MEASURES)}.")
        if self.bandwidth is not None and not self.bandwidth > 0:
            raise ValueError(f"bandwidth={self.bandwidth} has to be above zero.")

    def __call__(
        self,
        completions: Sequence[str],
        kind: Sequence[str | None],
        *,
        prompts: Sequence[str] | None = None,
        **columns: Any,
    ) -> Rewards:
        """Reward each answer.

        Parameters
        ----------
        completions
            Answers.
        kind
            Which real cells each is to be like: a key of `points`. ``None``: no reward.
        prompts
            Prompts of the answers, which TRL gives. Without them, answers of one kind are a group.
        **columns
            Other columns, which do not count.

        Returns
        -------
        The rewards.
        """
        rewards: Rewards = [None] * len(completions)
        groups: dict[tuple[str, str | None], list[int]] = defaultdict(list)
        for i, row in enumerate(rows_of(completions, {"kind": kind, "prompt": prompts})):
            if row.kind is not None:
                groups[row.kind, row.prompt].append(i)
        if not groups:
            return rewards
        unknown = sorted({name for name, _ in groups} - self.points.keys())
        if unknown:
            raise ValueError(
                f"There are no real cells of the kind {unknown[0]!r}; points= has {', '.join(self.points)}."
            )
        x = np.asarray(self.embed(list(completions)), dtype=np.float64)
        if x.ndim != 2 or len(x) != len(completions):
            raise ValueError(
                f"embed= gave the shape {x.shape} for {len(completions)} answers: a row for each is needed."
            )
        for (name, _), members in groups.items():
            for i, reward in zip(members, self._group(name, x[members]), strict=True):
                rewards[i] = float(reward)
        return rewards

    def _group(self, kind: str, x: Values) -> Values:
        real = np.asarray(self.points[kind], dtype=np.float64)
        placed = np.isfinite(x).all(axis=1)
        at = x[placed]
        if self.measure == "mse":
            centre = real.mean(axis=0)
            found = -((at - centre) ** 2).sum(axis=1)
            # As bad as the worst in sight, with the real cells among them: a distance has no bound of its own.
            least = min([*found, -((real - centre) ** 2).sum(axis=1).max()])
        else:
            h = self._bandwidths[kind]
            found = 2 * (_kernel(at, real, h).mean(axis=1) - _mean_of_others(_kernel(at, at, h)))
            least = -2.0
        rewards = np.full(len(x), least)
        rewards[placed] = found
        return rewards

    @cached_property
    def _bandwidths(self) -> dict[str, float]:
        given = self.bandwidth
        return {kind: metrics.median_bandwidth(real) if given is None else given for kind, real in self.points.items()}


def _kernel(a: Values, b: Values, bandwidth: float) -> Values:
    from scipy.spatial.distance import cdist

    return np.exp(-cdist(a, b, "sqeuclidean") / (2 * bandwidth**2))


def _mean_of_others(similar: Values) -> Values:
    """Mean over the other columns of each row; 0 where there is no other."""
    return (similar.sum(axis=1) - similar.diagonal()) / max(len(similar) - 1, 1)
