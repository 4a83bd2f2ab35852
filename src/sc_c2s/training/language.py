"""Talking about groups of cells as it is learned: which text follows the cells of a group."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sc_c2s._progress import progress
from sc_c2s._random import named_rng
from sc_c2s.engine import Conversation, LocalEngine
from sc_c2s.metrics.summaries import summaries
from sc_c2s.prompts import ask_conversation, describe, get_family, summarize_conversation
from sc_c2s.prompts.group import question_text

from .groups import Groups
from .loss import answer_loss
from .questions import Question, is_right
from .sft import Collator, tokenise
from .split import SETS, TEST, TRAIN, VALIDATION

MAX_TOKENS = 192
N_QUESTIONS = 4
"""Questions that are learned from one reading of the cells."""


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
    """Something to be said about a group.

    Attributes
    ----------
    group
        The group.
    question
        What is asked; a summary where there is no question.
    texts
        Texts that say it, if there are any.
    others
        Questions about the same group that may follow.
    """

    group: str
    question: Question | None = None
    texts: tuple[str, ...] = ()
    others: tuple[Question, ...] = ()


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
    instead
        Group whose cells are shown in place of another's: what a model says that reads no cells is the same.
    n_questions
        Most questions of a row: after the first one, some of the others are asked, so that the cells are read once for all.
    end
        What the model writes behind an answer.
    """

    groups: Groups
    items: Sequence[Item]
    wording: Wording
    vocabulary: np.ndarray
    written: Callable[[Conversation], str]
    seed: int
    instead: Mapping[str, str] = field(default_factory=dict)
    n_questions: int = 1
    end: str = ""

    def row(self, item: int, i: int) -> tuple[str, ...]:
        """Prompt and completion of the ``i``-th row; with further questions, what stands before each and its answer."""
        rng, one = self._rng(item, i), self.items[item]
        name = self.instead.get(one.group, one.group)
        text, known = self.wording.cells(self.groups, name, self.vocabulary, rng)
        row = [self.written(self._ask(one, text, known)), self.answer(one, rng)]
        history: list[tuple[str, str]] = []
        last = one.question
        for question in self._further(one, rng):
            assert last is not None
            history.append((question_text(last.text, last.choices), last.answer))
            last = question
            conversation = ask_conversation(
                text, question.text, choices=question.choices, evidence=known, history=history
            )
            whole, so_far = self.written(conversation), "".join(row)
            if not whole.startswith(so_far):
                break  # a template that writes earlier answers in another way
            between = whole[len(so_far) :]
            if self.end and between.startswith(self.end):
                row[-1], between = row[-1] + self.end, between[len(self.end) :]
            row += [between, question.answer]
        return tuple(row)

    def _further(self, item: Item, rng: np.random.Generator) -> list[Question]:
        """Draw other questions about the group, none of which another one has told the answer to."""
        if item.question is None or self.n_questions < 2:
            return []
        told = {_told(item.question)}
        further: list[Question] = []
        for place in rng.permutation(len(item.others)):
            question = item.others[place]
            if _told(question) not in told and len(further) < self.n_questions - 1:
                told.add(_told(question))
                further.append(question)
        return further

    def asked(self, item: int) -> Conversation:
        """Ask for something once, to score it."""
        return self.conversation(item, self._rng(item, 0))

    def _rng(self, item: int, i: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, item, i])

    def conversation(self, number: int, rng: np.random.Generator) -> Conversation:
        """Show cells, and ask what is to be said."""
        item = self.items[number]
        name = self.instead.get(item.group, item.group)
        return self._ask(item, *self.wording.cells(self.groups, name, self.vocabulary, rng))

    def _ask(self, item: Item, text: str, known: str) -> Conversation:
        if item.question is None:
            return summarize_conversation(text, style=self.wording.style, evidence=known)
        return ask_conversation(text, item.question.text, choices=item.question.choices, evidence=known)

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


def opening(questions: Sequence[Question], seed: int) -> list[Item]:
    """Put questions into items that can be followed by others: as many that each question is asked about once.

    Parameters
    ----------
    questions
        Questions about some groups.
    seed
        Draws those that come first.

    Returns
    -------
    For each group one item in :data:`N_QUESTIONS` questions.
    """
    items = []
    for name in dict.fromkeys(one.group for one in questions):
        own = [one for one in questions if one.group == name]
        first = named_rng(seed, name).permutation(len(own))[: math.ceil(len(own) / N_QUESTIONS)]
        items += [Item(name, question=own[i], others=tuple(own[:i] + own[i + 1 :])) for i in sorted(first)]
    return items


def _told(question: Question) -> str:
    """Name what an answer tells: those about the most common type tell the same."""
    return "most common" if question.kind in ("most common", "named", "share") else question.text


def template(groups: Groups, name: str, *, style: str, rng: np.random.Generator | None = None) -> str:
    """Describe a group without a model, see :func:`~sc_c2s.prompts.describe`."""
    return describe(
        groups.composition(name),
        groups.markers[name],
        groups.facts[name].context,
        style=style,
        organism=groups.organism,
        rng=rng,
    )


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
    n_judged: int = 24

    def rows(self, tokenizer: Any, which: str = TRAIN) -> GroupRows:
        """Rows of a set."""
        from sc_c2s.engine.speech import as_text

        def written(conversation: Conversation) -> str:
            return as_text(conversation, tokenizer)

        seed = self.seed + SETS.index(which)
        return GroupRows(
            self.sets[which],
            self.items[which],
            self.wording,
            self.vocabulary,
            written,
            seed,
            n_questions=N_QUESTIONS if which == TRAIN else 1,
            end=getattr(tokenizer, "eos_token", None) or "",
        )

    def judge(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Score validation rows, always the same: the mean loss of a token of their answers."""
        rows = self.rows(tokenizer, VALIDATION)
        read = tokenise(tokenizer, [rows.row(i, 0) for i in self.judged()], closing=True)
        collate, total, n_tokens = Collator(tokenizer.pad_token_id), 0.0, 0
        model.eval()
        with torch.no_grad():
            for start in range(0, len(read), 8):
                batch = {name: one.to(model.device) for name, one in collate(read[start : start + 8]).items()}
                loss, count, _ = answer_loss(model, batch)
                total, n_tokens = total + float(loss), n_tokens + int(count)
        return {"loss": total / max(n_tokens, 1)}

    def judged(self) -> list[int]:
        """Items of the validation groups by which states are chosen, evenly spaced."""
        n = len(self.items[VALIDATION])
        return np.linspace(0, n - 1, min(n, self.n_judged)).astype(int).tolist()

    def report(self, model: Any, tokenizer: Any) -> dict[str, dict[str, float]]:
        """Score what is said about the groups of the validation and the test set."""
        engine, scores = LocalEngine(model, tokenizer, quiet=True), {}
        known = [which for which in (VALIDATION, TEST) if self.items.get(which)]
        with progress(desc="scoring", total=sum(len(self.items[which]) for which in known), unit="answer") as bar:
            for which in known:
                scores[which] = score_items(engine, self.rows(tokenizer, which))
                bar.update(len(self.items[which]))
        return scores


def check_fit(talking: Talking, model: Any, tokenizer: Any) -> None:
    """Refuse, before anything is learned, prompts that do not fit into the model's context together with an answer."""
    engine = LocalEngine(model, tokenizer, quiet=True)
    if engine.context is None:
        return
    for which, items in talking.items.items():
        rows = talking.rows(tokenizer, which)
        prompts = [rows.written(rows.asked(i)) for i in range(len(items))]
        needed = int(engine.count(prompts).max(initial=0)) + MAX_TOKENS
        if needed > engine.context:
            wording = talking.wording
            raise ValueError(
                f"{wording.n_cells} cells with {wording.n_genes} genes each and an answer are {needed} tokens, and the model's "
                f"context is {engine.context}: show fewer with n_cells= or n_genes=, or give genes tokens (gene_tokens=True)."
            )


def score_items(engine: LocalEngine, rows: GroupRows, some: Sequence[int] | None = None) -> dict[str, float]:
    """Have a model say what is to be said, and score it.

    Parameters
    ----------
    engine
        The model.
    rows
        What is to be said.
    some
        Numbers of the items to be said; by default all.

    Returns
    -------
    For summaries those of :func:`sc_c2s.metrics.summaries`; for questions the ``accuracy``, of each kind as well.
    """
    scores: dict[str, float] = {}
    items = [(i, rows.items[i]) for i in (range(len(rows.items)) if some is None else some)]
    asked = [(i, item.question) for i, item in items if item.question is not None]
    told = [(i, item) for i, item in items if item.question is None]
    if told:
        prompts = [rows.asked(i) for i, _ in told]
        said = map(get_family(rows.wording.family).prose, engine.chat(prompts, max_tokens=MAX_TOKENS))
        scores |= summaries(list(said), [rows.groups.facts[item.group] for _, item in told])
    if asked:
        answers = answer_questions(engine, [(rows.asked(i), question) for i, question in asked])
        right = np.array([is_right(text, question) for text, (_, question) in zip(answers, asked, strict=True)])
        kinds = np.array([question.kind for _, question in asked])
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
