"""What every engine can do, whatever runs behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from .decoding import Completion
from .sampling import Sampling

Conversation = Sequence[Mapping[str, str]]
"""Turns, each with a ``role`` (``"system"``, ``"user"`` or ``"assistant"``) and its ``content``; the last one is a user's."""


@runtime_checkable
class Engine(Protocol):
    """Text in, numbers out. A result depends on its prompt alone, never on batch, padding or order."""

    def score(self, prompts: Sequence[str], answers: Sequence[str], *, batch_size: int | None = None) -> np.ndarray:
        """Log-probability of every answer after every prompt (prompts × answers)."""
        ...


@runtime_checkable
class Writer(Protocol):
    """Text in, lists of a closed vocabulary out.

    A list depends on its prompt and its seed alone, where it is balanced also on the seeds and the number of those with its
    prompt.
    """

    def generate(
        self,
        prompts: Sequence[str],
        items: Sequence[str],
        *,
        max_items: int | np.ndarray,
        min_items: int | np.ndarray = 1,
        sampling: Sampling | None = None,
        seeds: np.ndarray | None = None,
        balanced: bool = False,
        batch_size: int | None = None,
    ) -> list[Completion]:
        """Write a list of items, none twice, after every prompt."""
        ...


@runtime_checkable
class Speaker(Protocol):
    """Conversations in, prose out. An answer depends on its conversation and its seed alone."""

    context: int | None
    """Most tokens of a conversation and its answer together, if that is known."""

    def chat(
        self,
        conversations: Sequence[Conversation],
        *,
        max_tokens: int,
        sampling: Sampling | None = None,
        seeds: np.ndarray | None = None,
        batch_size: int | None = None,
    ) -> list[str]:
        """Say what comes next in every conversation, in so many tokens at most."""
        ...

    def written(self, conversation: Conversation) -> str:
        """Give a conversation as the text that an answer follows, and that ``score`` takes as a prompt."""
        ...

    def score(self, prompts: Sequence[str], answers: Sequence[str], *, batch_size: int | None = None) -> np.ndarray:
        """Log-probability of every answer after every prompt (prompts × answers)."""
        ...

    def count(self, texts: Sequence[str]) -> np.ndarray:
        """Count the tokens of texts, or no fewer than that."""
        ...
