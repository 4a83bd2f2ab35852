"""From a model directory to a better one: training with rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sc_c2s.models import directory
from sc_c2s.sentences.recipe import Recipe
from sc_c2s.training import sft
from sc_c2s.training.augment import NONE, Augmentation
from sc_c2s.training.cells import LabelledCells
from sc_c2s.training.generate import Generating
from sc_c2s.training.plan import PerturbingPlan, Plan
from sc_c2s.training.run import TASKS
from sc_c2s.training.split import SETS
from sc_c2s.training.start import Start

from .annotate import RewardedAnnotating
from .generate import RewardedGenerating
from .grpo import RewardSettings
from .improve import choose_rewards, improve, known_genes, same_improvement, warn_of_others
from .perturb import RewardedPerturbing
from .questions import Reward, Rewarded

USUAL: dict[str, dict[str, Any]] = {
    "annotate": {
        "n_steps": 60,
        "n_prompts": 32,
        "n_generations": 8,
        "n_words": 1,
        "learning_rate": 1e-5,
        "embedding_rate": 0.1,
    },
    "generate": {"n_steps": 60, "n_prompts": 8, "n_generations": 16, "n_words": 256, "learning_rate": 1e-4},
    "perturb": {"n_steps": 60, "n_prompts": 16, "n_generations": 16, "n_words": 200, "learning_rate": 1e-4},
    "ask": {"n_steps": 40, "n_prompts": 4, "n_generations": 8, "n_words": 24, "n_evaluations": 5},
    "summarize": {"n_steps": 40, "n_prompts": 2, "n_generations": 8, "n_words": 128, "n_evaluations": 5},
}
"""What is usual for a nano where nothing was asked for; about groups only pretrained models talk."""
PRETRAINED = {"learning_rate": 5e-5, "embedding_rate": 1.0}
"""What is usual for an adapter instead."""


def make_settings(task: str, *, small: bool, seed: int, **asked: Any) -> RewardSettings:
    """Fill in what was not asked for, which is ``None`` or missing.

    Parameters
    ----------
    task
        What is rewarded.
    small
        Whether the model is a nano.
    seed
        Seed of everything that is drawn.
    **asked
        Other fields of the settings.
    """
    usual = USUAL[task] | ({} if small else PRETRAINED)
    given = {name: value for name, value in asked.items() if value is not None}
    if task == "annotate":
        given.pop("n_words", None)  # an answer is one label
    return RewardSettings(**{**usual, **given, "seed": seed})


def improve_model(
    data: LabelledCells,
    card: directory.ModelCard,
    start: Start,
    task: str,
    rewards: Sequence[str | Reward] | None,
    *,
    settings: RewardSettings,
    output_dir: Path,
    perturbing: PerturbingPlan | None = None,
    resume: bool = True,
) -> tuple[directory.ModelCard, pd.DataFrame, str | None]:
    """Train on questions about the training cells, choose on the validation cells, report on the test cells.

    Parameters
    ----------
    data
        The cells.
    card
        Card of the model that is to be improved.
    start
        That model.
    task
        What is rewarded.
    rewards
        Functions of TRL's form, or names of those that the task brings along; by default the usual one.
    settings
        How to train.
    output_dir
        The model directory.
    perturbing
        What the perturbation task learns from.
    resume
        Go on with an earlier run of the same settings on the same cells that was stopped.

    Returns
    -------
    The card that was written, the history of the training, and why it was stopped early, if it was.
    """
    how = settings
    fingerprint = data.fingerprint()
    warn_of_others(card, fingerprint)
    plan = _plan(card, start, task, perturbing, seed=how.seed)
    vocabulary = known_genes(data.genes, card)
    learned = TASKS[task](data, plan, vocabulary, start.small)
    if isinstance(learned, Generating):  # no more than cells have
        have = int(np.median(learned.n_genes[learned.learn]))
        how = replace(how, n_words=min(how.n_words, have, plan.recipe.n_genes or have))
    rewarded = _rewarded(task, learned, how, card, first=str(rewards[0]) if rewards else "")
    chosen = choose_rewards(rewards, rewarded.rewards)
    same_improvement(output_dir, chosen, start, settings=how, data=fingerprint, resume=resume)
    if start.small and (new := start.new_words(learned.words)):
        raise ValueError(
            f"The model has no word for {new[0]!r}: train it on these cells with method='sft' first, and give rewards then."
        )
    with sft.quiet():
        model, tokenizer = start.open([], {}, plan.writes)
    return improve(
        model,
        tokenizer,
        rewarded,
        chosen,
        card,
        start,
        data={"fingerprint": fingerprint, **{f"n_{which}": len(data.of(which)) for which in SETS}},
        settings=how,
        output_dir=output_dir,
        resume=resume,
    )


def _plan(card: directory.ModelCard, start: Start, task: str, perturbing: PerturbingPlan | None, *, seed: int) -> Plan:
    """Read and write as the model has learned it."""
    if perturbing is not None:
        perturbing = replace(perturbing, scale=card.perturbations["scale"])
    # Of these settings the tasks look at the seed and at how many rows they read at once.
    unused = sft.Settings(0.0, 32, 1.0, 0.0, 1, None, seed)
    return Plan(
        family=card.family,
        recipe=Recipe.from_dict(card.recipe),
        n_top_genes=None,
        n_epochs=1,
        augmentation=NONE if task == "generate" else Augmentation(),
        settings=unused,
        tasks=(task,),
        perturbing=perturbing,
    )


def _rewarded(task: str, learned: Any, settings: RewardSettings, card: directory.ModelCard, *, first: str) -> Rewarded:
    if task == "annotate":
        return RewardedAnnotating(learned)
    if task == "generate":
        return RewardedGenerating(learned, n_words=settings.n_words, temperature=card.sampling_temperature)
    return RewardedPerturbing(learned, n_words=settings.n_words, first=first)
