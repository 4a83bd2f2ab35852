"""Answers that are one estimate together, and what each of them adds to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .questions import Reward


@dataclass(frozen=True)
class Pooled:
    r"""Reward each answer for its part in what all answers to its prompt say together.

    The words of an answer are a sample. Rewarded by itself, a sample is paid for being narrow, since what is drawn seldom is mostly
    noise; the model learns to say less and less. What is used is the expectation, and all :math:`G` answers to a prompt are nearest to
    that. So with :math:`f(\cdot)` the reward of words taken together, answer :math:`i` gets

    .. math:: f(\mathrm{all}) + (G - 1) \left(f(\mathrm{all}) - f(\mathrm{all\ but\ } i)\right)

    (a difference reward: Wolpert and Tumer 2002), whose mean is near :math:`f(\mathrm{all})`.

    Attributes
    ----------
    reward
        A function of TRL's form, which is called with the answers to a prompt joined to one, and as many times `n_asked`.
    """

    reward: Reward

    def __call__(
        self,
        completions: Sequence[str],
        n_asked: Sequence[int],
        *,
        prompts: Sequence[str],
        completion_ids: Sequence[list[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Reward each answer."""
        groups: dict[str, list[int]] = defaultdict(list)
        for i, prompt in enumerate(prompts):
            groups[prompt].append(i)
        texts, asked, rows = [], [], []
        for members in groups.values():
            said = [completions[i] for i in members]
            several = len(said) > 1
            parts = [said, *([*said[:k], *said[k + 1 :]] for k in range(len(said)) if several)]
            texts += [" ".join(part) for part in parts]
            asked += [n_asked[members[0]] * len(part) for part in parts]
            rows += [members[0]] * len(parts)
        of_rows = {name: _pick(values, rows, len(completions)) for name, values in columns.items()}
        found = iter(self.reward(texts, n_asked=asked, prompts=[prompts[i] for i in rows], **of_rows))
        rewards: list[float | None] = [None] * len(completions)
        for members in groups.values():
            whole = next(found)
            others = [next(found) for _ in members] if len(members) > 1 else [whole]
            for i, other in zip(members, others, strict=True):
                if whole is not None and other is not None:
                    rewards[i] = whole + (len(members) - 1) * (whole - other)
        return rewards


def _pick(values: Any, rows: list[int], n: int) -> Any:
    """Entries of a column; what is no column, such as the trainer's state, stays what it is."""
    is_column = isinstance(values, Collection | np.ndarray) and not isinstance(values, str | dict) and len(values) == n
    return [values[i] for i in rows] if is_column else values
