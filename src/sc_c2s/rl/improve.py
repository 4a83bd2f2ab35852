"""What every training with rewards has in common: rewards by name, and the way from an opened model to a directory."""

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
from sc_c2s.training.run import finish, same_run
from sc_c2s.training.start import Start

from .grpo import RewardSettings, train
from .pooled import Pooled
from .questions import Reward, Rewarded

Chosen = list[tuple[str, Reward]]


def same_improvement(
    output_dir: Path,
    chosen: Chosen,
    start: Start,
    *,
    settings: RewardSettings,
    data: str,
    resume: bool,
    **more: Any,
) -> None:
    """Forget checkpoints of other settings, rewards or cells; ``more`` is what else a run depends on."""
    output_dir.mkdir(parents=True, exist_ok=True)
    run = {
        "settings": asdict(settings),
        "rewards": [(name, described(reward)) for name, reward in chosen],
        "data": data,
        "base": start.base,
        "adapter": start.peft_config,
        **more,
    }
    same_run(output_dir, run, resume=resume)


def improve(
    model: Any,
    tokenizer: Any,
    rewarded: Rewarded,
    chosen: Chosen,
    card: directory.ModelCard,
    start: Start,
    *,
    data: Mapping[str, Any],
    settings: RewardSettings,
    output_dir: Path,
    resume: bool,
) -> tuple[directory.ModelCard, pd.DataFrame, str | None]:
    """Train an opened model with rewards, and write it.

    Parameters
    ----------
    model, tokenizer
        What is trained.
    rewarded
        The task.
    chosen
        The rewards.
    card, start
        Card of the model that is improved, and where it was opened from.
    data
        What the card has to say of the cells.
    settings, output_dir, resume
        See :func:`~sc_c2s.rl.grpo.train`.

    Returns
    -------
    The card that was written, the history of the training, and why it was stopped early, if it was.
    """
    model, history, reason = train(
        model,
        tokenizer,
        rewarded,
        [Named(name, Pooled(reward) if rewarded.pools else reward) for name, reward in chosen],
        settings=settings,
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
        data=dict(data),
        seed=settings.seed,
        versions={name: version(name) for name in card.versions},
    )
    finish(start, model, tokenizer, card, history, output_dir)
    return card, history, reason


def warn_of_others(card: directory.ModelCard, fingerprint: str) -> None:
    """Say so where these are not the cells that the model was trained on."""
    if card.data.get("fingerprint") != fingerprint:
        logg.warning(
            "these are not the cells that the model was trained on, or they are split otherwise: test scores may be of cells that it "
            "has learned. Give the same data with split_key='c2s_split' to keep the split."
        )


def known_genes(genes: np.ndarray, card: directory.ModelCard) -> np.ndarray:
    """Columns of the genes that the model knows."""
    place = pd.Index(genes).get_indexer(card.genes)
    if (place < 0).any():
        missing = [gene for gene, i in zip(card.genes, place, strict=True) if i < 0]
        raise ValueError(
            f"{len(missing)} genes of the model are not in the data ({', '.join(missing[:5])}): give the cells with all genes "
            "that it was trained on."
        )
    return place


class Named:
    """A reward under the name that it is logged by: two of one function would be one in TRL's log."""

    def __init__(self, name: str, reward: Reward) -> None:
        self.__name__, self.reward = name, reward

    def __call__(self, **columns: Any) -> list[float | None]:
        """Call the reward."""
        return self.reward(**columns)


def described(reward: Reward) -> str:
    """Tell a function and its parameters from others: a stopped run must not go on with another one."""
    inner = getattr(reward, "func", reward)
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    return f"{name} {getattr(reward, 'args', ())} {getattr(reward, 'keywords', {})}"


def choose_rewards(rewards: Sequence[str | Reward] | None, known: Mapping[str, Reward]) -> Chosen:
    """Names and functions of the rewards."""
    chosen: Chosen = []
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
