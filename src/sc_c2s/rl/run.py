"""From a model directory to a better one: training with rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scanpy import logging as logg

from sc_c2s.models import directory
from sc_c2s.sentences.recipe import Recipe
from sc_c2s.training import sft
from sc_c2s.training.augment import NONE, Augmentation
from sc_c2s.training.cells import LabelledCells
from sc_c2s.training.generate import Generating
from sc_c2s.training.plan import PerturbingPlan, Plan
from sc_c2s.training.run import TASKS, finish, same_run
from sc_c2s.training.split import SETS
from sc_c2s.training.start import Start

from .annotate import RewardedAnnotating
from .generate import RewardedGenerating
from .grpo import RewardSettings, train
from .perturb import RewardedPerturbing
from .pooled import Pooled
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
}
"""What is usual for a nano where nothing was asked for."""
PRETRAINED = {"learning_rate": 5e-5, "embedding_rate": 1.0}


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
    if card.data.get("fingerprint") != data.fingerprint():
        logg.warning(
            "these are not the cells that the model was trained on, or they are split otherwise: test scores may be of cells that it "
            "has learned. Give the same data with split_key='c2s_split' to keep the split."
        )
    plan = _plan(card, start, task, perturbing, seed=how.seed)
    vocabulary = _vocabulary(data, card)
    learned = TASKS[task](data, plan, vocabulary, start.small)
    if isinstance(learned, Generating):  # no more than cells have
        have = int(np.median(learned.n_genes[learned.learn]))
        how = replace(how, n_words=min(how.n_words, have, plan.recipe.n_genes or have))
    rewarded = _rewarded(task, learned, how, card, first=str(rewards[0]) if rewards else "")
    chosen = _chosen(rewards, rewarded.rewards)
    output_dir.mkdir(parents=True, exist_ok=True)
    run = {
        "settings": asdict(how),
        "rewards": [(name, _described(reward)) for name, reward in chosen],
        "data": data.fingerprint(),
        "base": start.base,
        "adapter": start.peft_config,
    }
    same_run(output_dir, run, resume=resume)
    if start.small and (new := start.new_words(learned.words)):
        raise ValueError(
            f"The model has no word for {new[0]!r}: train it on these cells with method='sft' first, and give rewards then."
        )
    with sft.quiet():
        model, tokenizer = start.open([], {}, plan.writes)
    model, history, reason = train(
        model,
        tokenizer,
        rewarded,
        [_Named(name, Pooled(reward) if rewarded.pools else reward) for name, reward in chosen],
        settings=how,
        output_dir=output_dir,
        peft_config=start.adapter(tokenizer),
        resume=resume,
    )
    said, metrics = rewarded.report(model, tokenizer)
    card = replace(
        card,
        **said,
        base=start.base | {"rewards": [name for name, _ in chosen]},
        metrics=_merged(card.metrics, metrics),
        data={"fingerprint": data.fingerprint(), **{f"n_{which}": len(data.of(which)) for which in SETS}},
        seed=how.seed,
        versions={name: version(name) for name in card.versions},
    )
    finish(start, model, tokenizer, card, history, output_dir)
    return card, history, reason


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


def _vocabulary(data: LabelledCells, card: directory.ModelCard) -> np.ndarray:
    """Columns of the genes that the model knows."""
    place = pd.Index(data.genes).get_indexer(card.genes)
    if (place < 0).any():
        missing = [gene for gene, i in zip(card.genes, place, strict=True) if i < 0]
        raise ValueError(
            f"{len(missing)} genes of the model are not in the data ({', '.join(missing[:5])}): give the cells with all genes "
            "that it was trained on."
        )
    return place


class _Named:
    """A reward under the name that it is logged by: two of one function would be one in TRL's log."""

    def __init__(self, name: str, reward: Reward) -> None:
        self.__name__, self.reward = name, reward

    def __call__(self, **columns: Any) -> list[float | None]:
        return self.reward(**columns)


def _described(reward: Reward) -> str:
    """Tell a function and its parameters from others: a stopped run must not go on with another one."""
    inner = getattr(reward, "func", reward)
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    return f"{name} {getattr(reward, 'args', ())} {getattr(reward, 'keywords', {})}"


def _rewarded(task: str, learned: Any, settings: RewardSettings, card: directory.ModelCard, *, first: str) -> Rewarded:
    if task == "annotate":
        return RewardedAnnotating(learned)
    if task == "generate":
        return RewardedGenerating(learned, n_words=settings.n_words, temperature=card.sampling_temperature)
    return RewardedPerturbing(learned, n_words=settings.n_words, first=first)


def _chosen(rewards: Sequence[str | Reward] | None, known: Mapping[str, Reward]) -> list[tuple[str, Reward]]:
    """Names and functions of the rewards."""
    chosen: list[tuple[str, Reward]] = []
    for reward in [next(iter(known))] if rewards is None else rewards:
        if isinstance(reward, str):
            if reward not in known:
                raise ValueError(
                    f"There is no reward {reward!r} for this task; name {', '.join(map(repr, known))}, or give a function."
                )
            chosen.append((reward, known[reward]))
        elif callable(reward):
            inner = getattr(reward, "func", reward)
            name = getattr(inner, "__name__", type(inner).__name__)
            n_alike = sum(other.split(" ")[0] == name for other, _ in chosen)
            chosen.append((f"{name} {n_alike + 1}" if n_alike else name, reward))
        else:
            raise ValueError(f"rewards= holds {reward!r}: give names or functions.")
    return chosen


def _merged(
    old: Mapping[str, Mapping[str, float]], new: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    return {name: {**old.get(name, {}), **new.get(name, {})} for name in {**old, **new}}
