"""The perturbation task as it is rewarded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sc_c2s.engine import LocalEngine
from sc_c2s.sentences.changes import FALLS, RISES
from sc_c2s.training.perturb import Perturbing

from . import rewards
from .policy import Policy, WordsByShare
from .questions import Reward, alike


@dataclass
class RewardedPerturbing:
    """Questions, answers and scores of the perturbations of some cells.

    An answer is many words, drawn as often as the model finds them probable: what is drawn more often changes more. All answers to
    a prompt together are what the model expects, and each is rewarded for its part in that.

    Attributes
    ----------
    task
        The task as it was learned.
    n_words
        Number of words of an answer.
    first
        Name of the first reward: where it looks at the order of genes, so does the choice of the state that is kept.
    """

    task: Perturbing
    n_words: int
    first: str = ""
    pools: bool = True

    def __post_init__(self) -> None:
        by_order, others = "kendall_delta", ("r2_delta", "pearson_delta")
        self.watched: tuple[str, ...] = (by_order, *others) if self.first == "kendall_tau" else (*others, by_order)
        self._rows = self.task.rows()
        self._asked = np.flatnonzero(self._rows.kind > 0)
        self._known = frozenset(word.strip() for word in self.task.answers)

    @property
    def rewards(self) -> dict[str, Reward]:
        """Rewards by their names, the usual one first."""
        return {
            "r2_delta": rewards.r2_delta,
            "delta_correlation": rewards.delta_correlation,
            "kendall_tau": rewards.kendall_tau,
            "rank_weighted_overlap": rewards.rank_weighted_overlap,
        }

    def policy(self, engine: LocalEngine) -> Policy:
        """Answer with words by their share."""
        if not self.task.small:
            raise NotImplementedError(
                "Rewards for perturbations need a model with one token for each change: start from a nano."
            )
        return WordsByShare.of(engine, self.task.answers)

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """Draw rows in which something is done to a cell."""
        rounds = -(-n // len(self._asked))
        numbers = np.concatenate([rng.permutation(self._asked) for _ in range(rounds)])[:n]
        return alike(numbers, self._rows.lengths, size=size, rng=rng)

    def question(self, number: int, i: int) -> dict[str, Any]:
        """Ask what changes in a variant of a control cell."""
        task, rows = self.task, self._rows
        context, kind = str(task.context[rows.cell[number]]), task.kinds[rows.kind[number]]
        return {
            "prompt": rows.prompt(number, i),
            "n_asked": self.n_words,
            "sentence": self._sentences[context, kind],
            "known": self._known,
            "genes": self._genes,
            "change": task.pairs.shift(context, kind),
            "control": task.pairs.control_means[task.pairs.contexts.index(context)],
            "reference": task.reference,
            "scale": task.scale,
            "kind": f"{context} {kind}",
        }

    def watch(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Score the validation cells."""
        scores = self.task.judge(model, tokenizer)
        return {name: scores[name] for name in self.watched}

    def report(self, model: Any, tokenizer: Any) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
        """Give what the card says of perturbations, and the scores."""
        return self.task.report(model, tokenizer)

    @cached_property
    def _genes(self) -> list[str]:
        return [str(gene) for gene in self.task.data.genes[self.task.vocabulary]]

    @cached_property
    def _sentences(self) -> dict[tuple[str, str], str]:
        """Words of what really changes, the largest first."""
        told = {}
        for pair in self.task.pairs.known:
            change = self.task.pairs.shift(*pair)
            order = np.argsort(-np.abs(change), kind="stable")
            told[pair] = " ".join(
                f"{RISES if change[gene] > 0 else FALLS}{self.task.genes[gene]}" for gene in order if change[gene]
            )
        return told
