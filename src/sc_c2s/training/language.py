"""Talking about groups of cells as it is learned: which text follows the cells of a group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sc_c2s.engine import Conversation, LocalEngine
from sc_c2s.metrics.grounding import grounding, grounding_shares
from sc_c2s.prompts import ask_conversation, describe, summarize_conversation

from .groups import Groups
from .loss import answer_loss
from .questions import Question, is_right
from .sft import Collator, tokenise
from .split import SETS, TEST, TRAIN, VALIDATION

MAX_TOKENS = 192


@dataclass(frozen=True)
class Wording:
    """How groups are shown, and what is asked.

    Attributes
    ----------
    family
        How genes are written.
    n_cells, n_genes
        Cells of a group, and most genes of each.
    style
        Style of a summary.
    evidence
        Whether what the data say is shown.
    """

    family: str
    n_cells: int
    n_genes: int
    style: str = "abstract"
    evidence: bool = False

    def cells(self, groups: Groups, name: str, vocabulary: np.ndarray, rng: np.random.Generator) -> tuple[str, str]:
        """Cells of a group as text, drawn anew, and the evidence."""
        drawn = groups.draw(name, self.n_cells, rng)
        text = groups.text(drawn, n_genes=self.n_genes, family=self.family, vocabulary=vocabulary)
        return text, groups.evidence(name) if self.evidence else ""


@dataclass(frozen=True)
class Item:
    """Something to be said about a group: a question, or a summary where there is none; and texts that say it, if there are any."""

    group: str
    question: Question | None = None
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class GroupRows:
    """Rows to learn from: each shows other cells of the group.

    Attributes
    ----------
    groups
        The groups.
    items
        What is said about them.
    wording
        How.
    vocabulary
        Genes that are read.
    written
        Writes a conversation the way the model reads it.
    seed
        Draws cells and wordings.
    """

    groups: Groups
    items: Sequence[Item]
    wording: Wording
    vocabulary: np.ndarray
    written: Callable[[Conversation], str]
    seed: int

    def row(self, item: int, i: int) -> tuple[str, str]:
        """Prompt and completion of the ``i``-th row."""
        rng = np.random.default_rng([self.seed, item, i])
        one = self.items[item]
        text, known = self.wording.cells(self.groups, one.group, self.vocabulary, rng)
        return self.written(self.conversation(one, text, known)), self.answer(one, rng)

    def conversation(self, item: Item, text: str, known: str) -> Conversation:
        """Ask what is to be said."""
        if item.question is None:
            return summarize_conversation(text, style=self.wording.style, evidence=known)
        return ask_conversation(text, item.question.text, choices=item.question.choices or None, evidence=known)

    def answer(self, item: Item, rng: np.random.Generator) -> str:
        """Say it."""
        if item.question is not None:
            return item.question.answer
        if item.texts:
            return item.texts[int(rng.integers(len(item.texts)))]
        return template(self.groups, item.group, style=self.wording.style, rng=rng)

    @property
    def lengths(self) -> np.ndarray:
        """Number of words of each row: about the same for all."""
        return np.full(len(self.items), self.wording.n_cells * self.wording.n_genes)


def template(groups: Groups, name: str, *, style: str, rng: np.random.Generator | None = None) -> str:
    """Describe a group without a model, see :func:`~sc_c2s.prompts.describe`."""
    facts = groups.facts[name]
    composition = None if facts.composition is None else facts.composition.to_dict()
    return describe(composition, groups.markers[name], facts.context, style=style, organism=groups.organism, rng=rng)


@dataclass
class Talking:
    """What is learned, judged and reported of some groups.

    Attributes
    ----------
    sets
        The groups of each set.
    items
        What is said about those of each set.
    wording, vocabulary, seed
        As of :class:`GroupRows`.
    """

    sets: Mapping[str, Groups]
    items: Mapping[str, Sequence[Item]]
    wording: Wording
    vocabulary: np.ndarray
    seed: int
    n_judged: int = 48

    def rows(self, tokenizer: Any, which: str = TRAIN) -> GroupRows:
        """Rows of a set."""
        from sc_c2s.engine.speech import as_text

        def written(conversation: Conversation) -> str:
            return as_text(conversation, tokenizer)

        seed = self.seed + SETS.index(which)
        return GroupRows(self.sets[which], self.items[which], self.wording, self.vocabulary, written, seed)

    def judge(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Score validation rows, always the same: the mean loss of a token of their answers."""
        rows = self.rows(tokenizer, VALIDATION)
        n = min(len(rows.items), self.n_judged)
        some = np.linspace(0, len(rows.items) - 1, n).astype(int)
        read = tokenise(tokenizer, [rows.row(int(i), 0) for i in some], closing=True)
        collate, total, n_tokens = Collator(tokenizer.pad_token_id), 0.0, 0
        model.eval()
        with torch.no_grad():
            for start in range(0, len(read), 8):
                batch = {name: one.to(model.device) for name, one in collate(read[start : start + 8]).items()}
                loss, count, _ = answer_loss(model, batch)
                total, n_tokens = total + float(loss), n_tokens + int(count)
        return {"loss": total / max(n_tokens, 1)}

    def report(self, model: Any, tokenizer: Any) -> dict[str, dict[str, float]]:
        """Score what is said about the groups of the validation and the test set."""
        engine = LocalEngine(model, tokenizer)
        return {
            which: score_items(engine, self.rows(tokenizer, which))
            for which in (VALIDATION, TEST)
            if self.items.get(which)
        }


def score_items(engine: LocalEngine, rows: GroupRows) -> dict[str, float]:
    """Have a model say what is to be said, and score it.

    Parameters
    ----------
    engine
        The model.
    rows
        What is to be said.

    Returns
    -------
    For summaries the mean share of claims that are ``confirmed``, ``contradicted`` and ``not_checkable``, and their number
    ``n_claims``; for questions the ``accuracy``, of each kind as well.
    """
    scores: dict[str, float] = {}
    asked = [(i, item) for i, item in enumerate(rows.items) if item.question is not None]
    told = [(i, item) for i, item in enumerate(rows.items) if item.question is None]
    if told:
        prompts = [_conversation(rows, i, item) for i, item in told]
        said = engine.chat(prompts, max_tokens=MAX_TOKENS)
        found = [
            grounding_shares(grounding(text, rows.groups.facts[item.group]))
            for text, (_, item) in zip(said, told, strict=True)
        ]
        scores |= {name: float(np.nanmean([one[name] for one in found])) for name in found[0]}
    if asked:
        answers = answer_questions(engine, [(_conversation(rows, i, item), item.question) for i, item in asked])
        right = np.array([is_right(text, item.question) for text, (_, item) in zip(answers, asked, strict=True)])
        kinds = np.array([item.question.kind for _, item in asked])
        scores["accuracy"] = float(right.mean())
        scores |= {f"accuracy {kind}": float(right[kinds == kind].mean()) for kind in dict.fromkeys(kinds)}
    return scores


def answer_questions(engine: Any, asked: Sequence[tuple[Conversation, Question]]) -> list[str]:
    """Answer questions: the most probable choice where there are some, else as a free text."""
    answers: list[str] = [""] * len(asked)
    by_choices: dict[tuple[str, ...], list[int]] = {}
    for i, (_, question) in enumerate(asked):
        by_choices.setdefault(tuple(sorted(question.choices)), []).append(i)
    for choices, members in by_choices.items():
        conversations = [asked[i][0] for i in members]
        if choices:
            scores = engine.score([engine.written(one) for one in conversations], choices)
            texts = [choices[best] for best in scores.argmax(axis=1)]
        else:
            texts = engine.chat(conversations, max_tokens=24)
        for i, text in zip(members, texts, strict=True):
            answers[i] = text
    return answers


def _conversation(rows: GroupRows, i: int, item: Item) -> Conversation:
    rng = np.random.default_rng([rows.seed, i, 0])
    text, known = rows.wording.cells(rows.groups, item.group, rows.vocabulary, rng)
    return rows.conversation(item, text, known)
