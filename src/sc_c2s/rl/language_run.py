"""From a model that talks about groups of cells to a better one: training with rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from sc_c2s.models import directory
from sc_c2s.training import sft
from sc_c2s.training.groups import Groups
from sc_c2s.training.language import Item, Talking, Wording
from sc_c2s.training.language_run import fingerprint, n_groups, said
from sc_c2s.training.split import TRAIN
from sc_c2s.training.start import Start

from .grpo import RewardSettings
from .improve import choose_rewards, improve, known_genes, same_improvement, warn_of_others
from .questions import Reward
from .talk import RewardedTalking


def improve_language(
    sets: Mapping[str, Groups],
    items: Mapping[str, Sequence[Item]],
    card: directory.ModelCard,
    start: Start,
    rewards: Sequence[str | Reward] | None,
    *,
    columns: Mapping[str, Any],
    settings: RewardSettings,
    output_dir: Path,
    resume: bool = True,
) -> tuple[directory.ModelCard, pd.DataFrame, str | None]:
    """Train on what is said about the training groups, choose on the validation groups, report on the test groups.

    Parameters
    ----------
    sets
        Groups of each set; the training groups know of no other cells than theirs.
    items
        What is to be said about them: questions, or summaries.
    card
        Card of the model that is to be improved, which says how groups are shown.
    start
        That model.
    rewards
        Functions of TRL's form, or names of those that the task brings along; by default the usual one.
    columns
        Columns that all this was read from, for the card.
    settings
        How to train.
    output_dir
        The model directory.
    resume
        Go on with an earlier run of the same settings on the same cells that was stopped.

    Returns
    -------
    The card that was written, the history of the training, and why it was stopped early, if it was.
    """
    digest = fingerprint(sets)
    warn_of_others(card, digest)
    genes = sets[TRAIN].genes[known_genes(sets[TRAIN].genes, card)]
    wording = Wording(
        family=card.family, **{name: card.language[name] for name in ("n_cells", "n_genes", "style", "evidence")}
    )
    with sft.quiet():
        model, tokenizer = start.open([], {}, False, genes)
    rewarded = RewardedTalking(Talking(sets, items, wording, genes, settings.seed), tokenizer)
    chosen = choose_rewards(rewards, rewarded.rewards)
    same_improvement(
        output_dir, chosen, start, settings=settings, data=digest, resume=resume, items=said(items), columns=columns
    )
    return improve(
        model,
        tokenizer,
        rewarded,
        chosen,
        replace(card, language={**card.language, "columns": dict(columns)}),
        start,
        data={"fingerprint": digest, **n_groups(sets)},
        settings=settings,
        output_dir=output_dir,
        resume=resume,
    )
