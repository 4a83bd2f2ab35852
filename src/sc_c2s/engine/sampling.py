"""Which of the allowed continuations may be drawn, and how evenly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

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

    def weights(self, log_prob: torch.Tensor) -> torch.Tensor:
        """Say how likely each column is to be drawn, but for a factor of the row.

        Parameters
        ----------
        log_prob
            Log-probabilities (rows × columns), -inf where a column is not allowed; one is allowed in each row. With a
            temperature of 0 this is no question, see ``Race.run``.
        """
        import torch

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
        return weight
