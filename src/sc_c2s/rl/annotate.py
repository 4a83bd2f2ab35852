"""The annotation task as it is rewarded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sc_c2s.engine import LocalEngine
from sc_c2s.engine.scoring import probabilities
from sc_c2s.metrics.annotation import annotation
from sc_c2s.training.annotate import Annotating
from sc_c2s.training.calibration import fit_temperature

from . import rewards
from .policy import OneAnswer, Policy, WordsByShare
from .questions import Reward, alike


@dataclass
class RewardedAnnotating:
    """Questions, answers and scores of the annotation of some cells.

    Attributes
    ----------
    task
        The task as it was learned.
    """

    task: Annotating
    watched: tuple[str, ...] = ("log_prob", "accuracy")
    pools: bool = False

    def __post_init__(self) -> None:
        self._rows = self.task.rows()

    @property
    def rewards(self) -> dict[str, Reward]:
        """Rewards by their names, the usual one first."""
        return {"label_match": rewards.label_match}

    def policy(self, engine: LocalEngine) -> Policy:
        """Answer with one label."""
        if self.task.small:
            return WordsByShare.of(engine, self.task.answers)
        return OneAnswer.of(engine, self.task.answers)

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """Draw cells of rare labels more often, so that these are not forgotten for the sake of common ones.

        A label comes up as the square root of its number of cells says.
        """
        codes = self.task.learn_codes
        share = np.bincount(codes, minlength=len(self.task.labels))[codes] ** -0.5
        return alike(rng.choice(len(codes), n, p=share / share.sum()), self._rows.lengths, size=size, rng=rng)

    def question(self, number: int, i: int) -> dict[str, Any]:
        """Ask for the label of a variant of a cell."""
        prompt, _ = self._rows.row(number, i)
        return {
            "prompt": prompt,
            "label": self.task.labels[self.task.learn_codes[number]],
            "labels": self.task.labels,
            "family": self.task.plan.family,
        }

    def watch(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Score the validation cells: log-probability of the right label, the mean of each label's mean, and what is right.

        A rare label has few validation cells, and whether one of them is right is chance; how probable its label is says more.
        """
        task = self.task
        scores = LocalEngine(model, tokenizer, quiet=True).score(task.check_prompts, task.answers)
        # Calibrated, as it will be used: to grow surer of everything is no progress.
        temperature = fit_temperature(scores, task.check_codes)
        proba = pd.DataFrame(probabilities(scores, temperature=temperature), columns=task.labels)
        right, found = np.array(task.labels, dtype=object)[task.check_codes], proba.idxmax(axis=1).to_numpy()
        whole = annotation(right, found)
        losses = [
            annotation(right[here], found[here], proba=proba[here])["log_loss"]
            for here in (right == label for label in np.unique(right))
        ]
        return {"log_prob": -float(np.mean(losses)), **{name: whole[name] for name in ("accuracy", "macro_f1")}}

    def report(self, model: Any, tokenizer: Any) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
        """Give the temperature anew, and the scores."""
        return self.task.report(model, tokenizer)
