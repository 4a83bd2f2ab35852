"""How one of the allowed continuations is drawn, so that a row's draws depend on its seed alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Sampling:
    """Which of the allowed tokens may be drawn, and how evenly.

    The restrictions are applied one after the other, to what the one before left.

    Attributes
    ----------
    temperature
        Divides the log-probabilities; 0 takes the most probable token.
    top_k
        Draw among this many most probable tokens; ``None`` for all.
    top_p
        Draw among the most probable tokens that together have this probability.
    min_p
        Leave out tokens less probable than this share of the most probable one.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature={self.temperature} has to be 0 (the most probable token) or above.")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k={self.top_k} leaves nothing to draw from: use 1 or more, or None for all.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p} has to be above 0 and at most 1.")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p={self.min_p} has to be from 0 to 1.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the record."""
        return asdict(self)

    def choose(self, log_prob: torch.Tensor, uniform: np.ndarray) -> torch.Tensor:
        """Draw one column of each row.

        Parameters
        ----------
        log_prob
            Log-probabilities (rows × columns), -inf where a column is not allowed; one is allowed in each row.
        uniform
            A number from 0 up to 1 for each row: the draw is that quantile of the columns in their order.
        """
        import torch

        if self.temperature == 0:
            return log_prob.argmax(dim=1)
        weight = torch.softmax(log_prob / self.temperature, dim=1)
        if self.top_k is not None and self.top_k < weight.shape[1]:
            weight = weight * (weight >= weight.topk(self.top_k, dim=1).values[:, -1:])
        if self.top_p < 1:
            falling, order = weight.sort(dim=1, descending=True)
            before = falling.cumsum(dim=1) - falling
            kept = before < self.top_p * falling.sum(dim=1, keepdim=True)
            weight = torch.zeros_like(weight).scatter(1, order, falling * kept)
        if self.min_p > 0:
            weight = weight * (weight >= self.min_p * weight.max(dim=1, keepdim=True).values)
        total = weight.double().cumsum(dim=1)  # several times as fast as to add up in double precision what is not
        drawn = torch.from_numpy(uniform).to(total)[:, None] * total[:, -1:]
        # First column whose sum is above the draw, so it has a weight; rounding must not lift the draw to the very end.
        drawn = drawn.minimum(total[:, -1:].nextafter(torch.zeros((), dtype=total.dtype, device=total.device)))
        return torch.searchsorted(total, drawn, right=True)[:, 0]


def uniforms(seeds: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Give the number that a row draws at a step, whatever its batch.

    The finaliser of SplitMix64 (Steele, Lea and Flood 2014, *Fast Splittable Pseudorandom Number Generators*), twice: once
    over the seed and once over that and the step.

    Parameters
    ----------
    seeds
        Seed of each row, unsigned 64-bit.
    steps
        Step of each row.

    Returns
    -------
    Numbers from 0 up to, but without, 1.
    """
    with np.errstate(over="ignore"):
        mixed = _mix(_mix(seeds.astype(np.uint64)) + steps.astype(np.uint64) * _GOLDEN)
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
