"""From a model directory to a better one: training with rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
from .policy import Reward
from .questions import Rewarded


@dataclass(frozen=True)
class Usual:
    """What is usual where nothing was asked for."""

    n_steps: int
    n_prompts: int
    n_generations: int
    n_words: int
    learning_rate: float
    embedding_rate: float


USUAL = {
    "annotate": Usual(60, 32, 8, 1, 1e-5, 0.1),
    "generate": Usual(60, 8, 16, 256, 1e-4, 1.0),
    "perturb": Usual(60, 16, 16, 200, 1e-4, 1.0),
}
PRETRAINED_RATE = 5e-5
N_EVALUATIONS = 10


def make_settings(
    task: str,
    start: Start,
    *,
    weights: Sequence[float],
    seed: int,
    n_steps: int | None = None,
    n_prompts: int | None = None,
    n_generations: int | None = None,
    n_words: int | None = None,
    learning_rate: float | None = None,
    beta: float = 0.02,
    tolerance: float = 0.05,
    patience: int | None = None,
) -> RewardSettings:
    """Fill in what was not asked for."""
    usual = USUAL[task]
    rate = usual.learning_rate if start.small else PRETRAINED_RATE
    return RewardSettings(
        n_steps=n_steps or usual.n_steps,
        n_prompts=n_prompts or usual.n_prompts,
        n_generations=n_generations or usual.n_generations,
        n_words=usual.n_words if n_words is None or task == "annotate" else n_words,
        learning_rate=learning_rate or rate,
        embedding_rate=usual.embedding_rate if start.small else 1.0,
        beta=beta,
        weights=tuple(weights),
        n_evaluations=N_EVALUATIONS,
        tolerance=tolerance,
        patience=2 if patience is None else patience,
        seed=seed,
    )


def improve_model(
    data: LabelledCells,
    card: directory.ModelCard,
    start: Start,
    task: str,
    rewards: Sequence[str | Reward] | None,
    *,
    settings: Callable[[int], RewardSettings],
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
        Gives the settings for a number of rewards.
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
    wanted = len(rewards) if rewards is not None else 1
    how = settings(wanted)
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
        "rewards": [name for name, _ in chosen],
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
        [_Named(name, rewarded.given(reward)) for name, reward in chosen],
        settings=how,
        output_dir=output_dir,
        peft_config=start.peft_config,
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
