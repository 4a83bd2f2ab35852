"""What a model is asked while it is rewarded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from sc_c2s.engine import LocalEngine

from .policy import Policy

Reward = Callable[..., list[float | None]]
"""A function of TRL's form."""
STEPS = 8
"""Steps among whose questions those of like length are put together."""


class Rewarded(Protocol):
    """A task as it is rewarded."""

    watched: tuple[str, ...]
    """Scores of the validation cells that must not fall; the first says which state is best."""
    pools: bool
    """Whether all answers to a prompt are one estimate, and each is rewarded for its part in that."""

    @property
    def rewards(self) -> dict[str, Reward]:
        """Rewards by their names, those that are usual first."""
        ...

    def policy(self, engine: LocalEngine) -> Policy:
        """Say how the model answers."""
        ...

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """Draw the numbers of ``n`` questions, so many of them in a step."""
        ...

    def question(self, number: int, i: int) -> dict[str, Any]:
        """Prompt, and what rewards need to know, of the ``i``-th question asked."""
        ...

    def watch(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Score the validation cells; more is better."""
        ...

    def report(self, model: Any, tokenizer: Any) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
        """Give what is new on the card, and the scores of each set of cells."""
        ...


def alike(numbers: np.ndarray, lengths: np.ndarray, *, size: int, rng: np.random.Generator) -> np.ndarray:
    """Put questions of like length together in a step, within stretches, so that a step holds little padding.

    Parameters
    ----------
    numbers
        Questions.
    lengths
        Length of every question.
    size
        Questions in a step; ``numbers`` are a multiple of it.
    rng
        Draws the order of the steps.
    """
    numbers, stretch = numbers.copy(), STEPS * size
    for start in range(0, len(numbers), stretch):
        some = numbers[start : start + stretch]
        steps = some[np.argsort(lengths[some], kind="stable")].reshape(-1, size)
        numbers[start : start + stretch] = rng.permutation(steps).ravel()
    return numbers
