"""The annotation task as it is learned: which label follows a cell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from sc_c2s.engine.local import LocalEngine
from sc_c2s.engine.scoring import probabilities
from sc_c2s.metrics.annotation import annotation
from sc_c2s.prompts import annotate_answer, annotate_prompt, get_family
from sc_c2s.sentences.text import quote

from .augment import Augmenter, pseudo_counts
from .calibration import fit_temperature
from .cells import LabelledCells
from .examples import Examples
from .loss import Choice
from .plan import Plan
from .probe import place_answers, probe_cells
from .sft import answer_tokens
from .split import TEST, TRAIN, VALIDATION


@dataclass
class Annotating:
    """Prompts, answers and scores of the annotation of some cells.

    Attributes
    ----------
    data
        The cells.
    plan
        What to do with them.
    vocabulary
        Columns of the genes that are read.
    small
        Whether each label is one token of its own.
    """

    data: LabelledCells
    plan: Plan
    vocabulary: np.ndarray
    small: bool

    def __post_init__(self) -> None:
        data, plan = self.data, self.plan
        self.labels = data.label_set
        self.answers = [annotate_answer(label, plan.family) for label in self.labels]
        self.prompt = partial(annotate_prompt, family=plan.family, groupby=data.groupby, organism=plan.recipe.organism)
        self.learn, self.report_on = data.of(TRAIN), data.of(TEST)
        self.check = data.to_judge(VALIDATION, np.isin(data.labels, self.labels), "label")
        code = {label: i for i, label in enumerate(self.labels)}
        self.learn_codes = np.array([code[label] for label in data.labels[self.learn]])
        self.check_prompts = self._prompts(self.check)
        self.check_codes = np.array([code[label] for label in data.labels[self.check]], dtype=int)

    @property
    def words(self) -> list[str]:
        """Words beside genes that the prompts and answers need."""
        return [*get_family(self.plan.family).words, quote(self.data.groupby), *(a.strip() for a in self.answers)]

    def rows(self) -> Examples:
        """Rows to learn from: variants of the training cells."""
        counts = pseudo_counts(self.data.x[self.learn][:, self.vocabulary])
        words = np.array([quote(gene) for gene in self.data.genes[self.vocabulary]], dtype=object)
        return Examples(
            Augmenter(counts, self.learn_codes, self.plan.augmentation, seed=self.plan.settings.seed),
            words,
            [self.answers[i] for i in self.learn_codes],
            self.prompt,
            self.plan.recipe.n_genes,
        )

    def choice(self, tokenizer: Any) -> Choice | None:
        """Let a small model choose among the answers: none begins with another, and they are scored that way."""
        return Choice(answer_tokens(tokenizer, self.prompt(""), self.answers)) if self.small else None

    def place(self, model: Any, tokenizer: Any, rng: np.random.Generator) -> None:
        """Start the answers of a small model at a linear probe."""
        chosen = probe_cells(self.learn_codes, rng)
        place_answers(model, tokenizer, self._prompts(self.learn[chosen]), self.learn_codes[chosen], self.answers)

    def finish(self, model: Any, tokenizer: Any, rng: np.random.Generator) -> None:
        """Read the answers off the last states anew.

        What the answers of a model that also writes are told by has no part in what it writes, and the rest of it has moved for
        the sake of both.
        """
        self.place(model, tokenizer, rng)

    def judge(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Score the validation cells: loss and accuracy."""
        scores = LocalEngine(model, tokenizer, quiet=True).score(self.check_prompts, self.answers)
        # Calibrated, as it will be used: a model that grows too sure while it grows better is not stopped for that.
        scores /= fit_temperature(scores, self.check_codes)
        right = log_softmax(scores, axis=1)[np.arange(len(self.check_codes)), self.check_codes]
        return {"loss": float(-right.mean()), "accuracy": float((scores.argmax(axis=1) == self.check_codes).mean())}

    def report(self, model: Any, tokenizer: Any) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
        """Give what the card has to say, and the scores on validation and test cells."""
        scores = LocalEngine(model, tokenizer).score(
            [*self.check_prompts, *self._prompts(self.report_on)], self.answers
        )
        n = len(self.check)
        temperature = fit_temperature(scores[:n], self.check_codes)
        metrics = {VALIDATION: self._metrics(scores[:n], self.check, temperature)}
        if len(self.report_on):
            metrics[TEST] = self._metrics(scores[n:], self.report_on, temperature)
        return {"labels": self.labels, "temperature": temperature}, metrics

    def _prompts(self, cells: np.ndarray) -> list[str]:
        data = self.data
        genes = data.genes[self.vocabulary]
        written = self.plan.recipe.write(data.x[cells], data.genes, data.cells[cells], vocabulary=genes)
        return [self.prompt(sentence) for sentence in written]

    def _metrics(self, scores: np.ndarray, cells: np.ndarray, temperature: float) -> dict[str, float]:
        proba = pd.DataFrame(probabilities(scores, temperature=temperature), columns=self.labels)
        return annotation(self.data.labels[cells], proba.idxmax(axis=1).to_numpy(), proba=proba)
