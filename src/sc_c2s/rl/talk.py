"""Questions and summaries about groups of cells as they are rewarded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from sc_c2s.engine import LocalEngine
from sc_c2s.metrics.facts import LEAST_SHARE, GroupFacts
from sc_c2s.training.language import Talking, score_items
from sc_c2s.training.split import VALIDATION

from . import rewards
from .policy import FreeText, Policy
from .questions import Reward


@dataclass
class RewardedTalking:
    """What is asked about some groups, how it is answered, and how that is judged.

    Attributes
    ----------
    task
        The task as it was learned, with items of one kind.
    tokenizer
        Writes conversations as the model reads them.
    watched
        For questions how probable the right answers are, and the share that is right. For summaries their score by
        the data, and how probable the texts are that were learned: whoever wins the score with texts that nobody wrote loses that.
    """

    task: Talking
    tokenizer: Any
    watched: tuple[str, ...] = field(init=False)
    pools: bool = False

    def __post_init__(self) -> None:
        # An answer is compared with others to the same question: one in each row.
        self._rows = replace(self.task.rows(self.tokenizer), n_questions=1)
        self.asks = self._rows.items[0].question is not None
        self.watched = ("log_prob", "accuracy") if self.asks else ("grounding", "log_prob")

    @property
    def rewards(self) -> dict[str, Reward]:
        """Rewards by their names, the usual one first."""
        if self.asks:
            return {"exact_answer": rewards.exact_answer, "bert_score": rewards.bert_score}
        return {"grounding": rewards.grounding, "bert_score": rewards.bert_score, "grounded": rewards.grounded}

    def policy(self, engine: LocalEngine) -> Policy:
        """Answer freely."""
        return FreeText.of(engine)

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """Draw training items: every summary equally often, and rare questions and answers more often than they are.

        A kind of question comes up as the square root of its number says, and so does an answer among those of its kind: a guess
        is paid less.
        """
        asked = [(one.question.kind, one.question.answer) if one.question else ("", "") for one in self._rows.items]
        table = pd.DataFrame(asked, columns=["kind", "answer"])
        within = table.groupby(["kind", "answer"])["kind"].transform("size") ** -0.5
        of_kind = table.groupby("kind")["kind"].transform("size") ** 0.5
        share = (of_kind * within / within.groupby(table["kind"]).transform("sum")).to_numpy()
        return rng.choice(len(share), n, p=share / share.sum())

    def question(self, number: int, i: int) -> dict[str, Any]:
        """Show cells of a group, drawn anew, and ask."""
        item = self._rows.items[number]
        prompt, text = self._rows.row(number, i)[:2]
        facts = self._rows.groups.facts[item.group]
        columns = {"prompt": prompt, "sentence": text, "group": item.group, "facts": facts}
        if item.question is None:
            return {**columns, **_named(facts)}
        asked = item.question
        return {
            **columns,
            "question": asked.text,
            "kind": asked.kind,
            "choices": list(asked.choices),
            "answer": asked.answer,
            "tolerance": asked.tolerance,
        }

    def watch(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Score some items of the validation groups, always the same: how probable a token of the right texts is, and what is said."""
        rows = self.task.rows(tokenizer, VALIDATION)
        engine = LocalEngine(model, tokenizer, quiet=True)
        scores = score_items(engine, rows, self.task.judged())
        scores["log_prob"] = -self.task.judge(model, tokenizer)["loss"]
        others = () if self.asks else ("confirmed", "n_claims", "composition_error")
        return {name: scores[name] for name in (*self.watched, *others)}

    def report(self, model: Any, tokenizer: Any) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
        """Give the scores; the card has nothing new to say."""
        return {}, self.task.report(model, tokenizer)


def _named(facts: GroupFacts) -> dict[str, list[str]]:
    """Names that are right for a group, genes that it expresses and types that it has, and all that there are."""
    genes, types = facts.genes["share"], pd.Series(dtype=float) if facts.composition is None else facts.composition
    there = [*genes.index[genes >= LEAST_SHARE], *types.index[types > 0]]
    return {"confirmed": [str(name) for name in there], "known": [str(name) for name in (*genes.index, *types.index)]}
