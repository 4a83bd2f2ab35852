"""``tl.finetune(method="grpo")``: what it takes, and where it goes on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from sc_c2s.models.directory import ModelCard
    from sc_c2s.rl.grpo import RewardSettings
    from sc_c2s.training.plan import PerturbingPlan

METHODS = ("sft", "grpo")


def check_method(
    method: str, tasks: tuple[str, ...], *, learning: Mapping[str, Any], rewarding: Mapping[str, Any]
) -> None:
    """Refuse what belongs to the other method.

    Parameters
    ----------
    method, tasks
        Method and tasks that were asked for.
    learning, rewarding
        Arguments that only supervised training has, and that only training with rewards has.
    """
    if method not in METHODS:
        raise ValueError(f"There is no method {method!r}; choose from {', '.join(map(repr, METHODS))}.")
    wrong = [name for name, value in (rewarding if method == "sft" else learning).items() if value is not None]
    if wrong:
        other = "grpo" if method == "sft" else "sft"
        raise ValueError(f"{wrong[0]}= is for method={other!r}: leave it out.")
    if method == "sft":
        return
    rewards, weights, n_generations = (rewarding[name] for name in ("rewards", "reward_weights", "n_generations"))
    if len(tasks) > 1:
        raise ValueError("Rewards are given for one task at a time: name one in task=.")
    if rewards is not None and not len(rewards):
        raise ValueError("rewards= is empty: name one, or leave it out.")
    if rewards is None and weights is not None:
        raise ValueError("reward_weights= needs rewards= to weigh.")
    if rewards is not None and weights is not None and len(rewards) != len(weights):
        raise ValueError(f"There are {len(rewards)} rewards and {len(weights)} weights: give one to each.")
    if n_generations is not None and n_generations < 2:
        raise ValueError(f"n_generations={n_generations} leaves nothing to compare an answer with: use 2 or more.")


def card_to_improve(model: str | Path, task: str, output_dir: Path) -> ModelCard:
    """Card of the model that training goes on from, if it can."""
    from sc_c2s.models import directory

    model = Path(model)
    if not directory.is_model_directory(model):
        raise ValueError(
            f"method='grpo' goes on from a model that tl.finetune trained, and {str(model)!r} is none: train one with "
            "method='sft' first, and name its directory in model=."
        )
    card = directory.read(model)
    if task not in card.task:
        raise ValueError(
            f"{str(model)!r} was trained to {' and '.join(card.task)}, not to {task}: train it for that first."
        )
    if model.resolve() == output_dir.resolve():
        raise ValueError("output_dir= is the directory of the model that training starts from: choose another one.")
    return card


def settings_of(
    task: str, rewards: Sequence[Any] | None, weights: Sequence[float] | None, **asked: Any
) -> RewardSettings:
    """How to train; what was asked for is `None` where nothing was."""
    from sc_c2s.rl.run import make_settings

    n_rewards = 1 if rewards is None else len(rewards)
    return make_settings(task, weights=tuple(weights or [1.0] * n_rewards), **asked)


def improve(
    labelled: Any,
    begin: Any,
    task: str,
    rewards: Sequence[Any] | None,
    *,
    model: Path,
    output_dir: Path,
    perturbing: PerturbingPlan | None,
    resume: bool,
    weights: Sequence[float] | None,
    **asked: Any,
) -> tuple[Any, pd.DataFrame, str | None]:
    """Go on from a model directory with rewards; what was asked for is `None` where nothing was."""
    from sc_c2s.rl.run import improve_model

    card = card_to_improve(model, task, output_dir)
    return improve_model(
        labelled,
        card,
        begin,
        task,
        rewards,
        settings=settings_of(task, rewards, weights, small=begin.small, **asked),
        output_dir=output_dir,
        perturbing=perturbing,
        resume=resume,
    )
