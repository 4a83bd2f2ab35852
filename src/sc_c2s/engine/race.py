"""How a token is drawn: rows draw from their own seed, and rows that belong together draw evenly.

Tokens run a race. Each waits for a time of its own, exponentially distributed, that passes faster the more probable the token
is at a step; the first that is due is written. That is a draw from the probabilities of the step. The others keep the rest of
their time: it is exponentially distributed again, so that the draws of a row are independent of each other, whatever the
model makes of what was written. One number for each token then decides whether, and how early, a whole list has it, and to
spread these numbers evenly over many lists spreads the token evenly over the lists.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

LEAST = 1e-30
"""What is left of a time that has passed, but for rounding."""


@dataclass(frozen=True)
class Draws:
    r"""The numbers that rows draw, whatever their batch.

    Rows of a group draw evenly (Latin hypercube sampling: McKay, Beckman and Conover 1979, *A Comparison of Three Methods for
    Selecting Values of Input Variables*): what a token can draw is cut into as many parts as the group has rows, or a few more,
    and no two rows draw from the same one. The part is :math:`(ai + b) \bmod p` for the row in place :math:`i`, with
    :math:`p` parts, a prime number, and :math:`a`, :math:`b` of the group and the token (Carter and Wegman 1979, *Universal
    Classes of Hash Functions*): each row by itself draws as it would alone, and any two of them draw any two parts alike, which
    is all that the variance of a mean depends on.

    Attributes
    ----------
    seeds
        Seed of each row, unsigned 64-bit.
    groups
        Seed of the group of each row.
    places
        Number of the row in its group, from 0.
    parts
        Number of parts that the group draws from.
    """

    seeds: np.ndarray
    groups: np.ndarray
    places: np.ndarray
    parts: np.ndarray

    @classmethod
    def alone(cls, seeds: np.ndarray) -> Draws:
        """Every row for itself."""
        seeds = np.asarray(seeds).astype(np.uint64)
        return cls(seeds, seeds, np.zeros(len(seeds), dtype=np.uint64), np.ones(len(seeds), dtype=np.uint64))

    @classmethod
    def together(cls, seeds: np.ndarray, groups: Sequence[int]) -> Draws:
        """Rows with the same number are a group; its seed is that of its first row."""
        seeds = np.asarray(seeds).astype(np.uint64)
        _, first, group, size = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
        order = np.argsort(group, kind="stable")
        places = np.empty(len(seeds), dtype=np.uint64)
        places[order] = np.arange(len(seeds)) - np.repeat(np.cumsum(size) - size, size)
        parts = np.array([_prime(int(n)) for n in size], dtype=np.uint64)
        return cls(seeds, seeds[first][group], places, parts[group])

    def __getitem__(self, rows: np.ndarray) -> Draws:
        return Draws(self.seeds[rows], self.groups[rows], self.places[rows], self.parts[rows])

    def first(self, n: int) -> np.ndarray:
        """Give the time that each of ``n`` tokens waits for in each row (rows × n)."""
        tokens = np.arange(n)
        within = uniforms(self.seeds[:, None], tokens)
        key, place, parts = _hashed(self.groups[:, None], tokens), self.places[:, None], self.parts[:, None]
        a = 1 + (key >> np.uint64(32)) % np.maximum(parts - 1, 1)
        part = (a * place + (key & np.uint64(2**32 - 1)) % parts) % parts
        return _times((part + within) / parts)

    def later(self, steps: np.ndarray) -> np.ndarray:
        """Give the time that a token waits for which was written at a step, for each row; steps begin beyond all tokens."""
        return _times(uniforms(self.seeds, steps))


class Race:
    """The times that are left to the tokens of some rows.

    Parameters
    ----------
    draws
        What the rows draw.
    n
        Number of tokens.
    device
        Where to work.
    """

    def __init__(self, draws: Draws, n: int, device: Any) -> None:
        import torch

        self.draws, self.steps = draws, np.full(len(draws.seeds), n)
        self.left = torch.from_numpy(draws.first(n).astype(np.float32)).to(device)

    def keep(self, rows: torch.Tensor) -> None:
        """Forget all rows but these."""
        on_host = rows.cpu().numpy()
        self.draws, self.steps, self.left = self.draws[on_host], self.steps[on_host], self.left[rows]

    def run(self, weight: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        """Find the column of each row that is due first, and let that time pass.

        Parameters
        ----------
        weight
            How fast time passes for each column (rows × columns); zero where it stands still.
        tokens
            Token of each column (rows × columns), where a token may be written again; without, columns are the tokens, and what
            was written stands still from then on. A token may have several columns, if it stands still in all but one.
        """
        import torch

        left = self.left if tokens is None else self.left.gather(1, tokens)
        passed, column = (left / weight).min(dim=1, keepdim=True)
        if tokens is None:
            self.left.addcmul_(weight, passed, value=-1).clamp_(min=LEAST)
        else:
            self.left.scatter_add_(1, tokens, -weight * passed).clamp_(min=LEAST)
            anew = torch.from_numpy(self.draws.later(self.steps).astype(np.float32)).to(left.device)
            self.left.scatter_(1, tokens.gather(1, column), anew[:, None])
        self.steps += 1
        return column[:, 0]


def uniforms(seeds: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Give the number that a row draws for a token or at a step, whatever its batch.

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
    return (_hashed(seeds, steps) >> np.uint64(11)).astype(np.float64) / 2.0**53


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _hashed(seeds: np.ndarray, steps: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return _mix(_mix(seeds.astype(np.uint64)) + steps.astype(np.uint64) * _GOLDEN)


def _mix(x: np.ndarray) -> np.ndarray:
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _times(uniform: np.ndarray) -> np.ndarray:
    """Make exponentially distributed numbers of evenly distributed ones."""
    return np.maximum(-np.log1p(-uniform), LEAST)


def _prime(n: int) -> int:
    """Find the first prime number that is not below ``n``; 1 for 1."""
    while any(n % i == 0 for i in range(2, math.isqrt(n) + 1)):
        n += 1
    return n
