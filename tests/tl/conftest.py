"""A model that says what a test wants to hear, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest


class Parrot:
    """An engine that talks: what it says is a function of the conversation."""

    def __init__(self, say: Callable[[str], str] = lambda text: "", *, context: int | None = None) -> None:
        self.say, self.context = say, context
        self.heard: list[list[dict[str, str]]] = []
        self.seeds: list[int] = []

    def chat(self, conversations: Sequence[Any], *, seeds: Any = None, **how: Any) -> list[str]:
        self.heard += [list(one) for one in conversations]
        self.seeds += list(seeds)
        return [self.say(one[-1]["content"]) for one in conversations]

    def written(self, conversation: Any) -> str:
        return "\n".join(turn["content"] for turn in conversation)

    def count(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([len(text.split()) for text in texts])

    def score(self, prompts: Sequence[str], answers: Sequence[str], **how: Any) -> np.ndarray:
        """An answer is the more probable the more often it stands in the prompt."""
        return np.array([[float(prompt.count(answer)) for answer in answers] for prompt in prompts])


@pytest.fixture
def parrot() -> Callable[..., Parrot]:
    return Parrot
