"""From groups of cells to a model that talks about them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sc_c2s._keys import JOIN
from sc_c2s.models import directory
from sc_c2s.sentences.recipe import Recipe

from . import sft
from .examples import schedule
from .groups import Groups
from .language import Item, Talking, Wording, check_fit, opening
from .questions import questions_about
from .run import check_known, finish, same_run
from .split import SETS, TRAIN, VALIDATION
from .start import Start
from .vocabulary import informative_genes

ROWS, EPOCHS = 800, (1, 50)
"""Rows that a model is shown, and the fewest and most times that each item is among them."""
TOP_GENES = 100
"""Genes that are shown: those that tell the groups apart."""
BATCH, PATIENCE, N_EVALUATIONS = 4, 3, 6


@dataclass(frozen=True)
class LanguagePlan:
    """What is learned, and how.

    Attributes
    ----------
    tasks
        ``"summarize"``, ``"ask"``, or both.
    wording
        How groups are shown.
    n_top_genes
        Number of genes that are shown; ``None`` for all that are expressed.
    n_epochs
        How often each item is shown.
    settings
        How the trainer is run.
    columns
        Columns that all this was read from, for the card.
    """

    tasks: tuple[str, ...]
    wording: Wording
    n_top_genes: int | None
    n_epochs: int
    settings: sft.Settings
    columns: dict[str, Any]


def items_of(
    sets: Mapping[str, Groups],
    tasks: Sequence[str],
    *,
    texts: Mapping[str, Sequence[str]] | None,
    seed: int,
    alone: bool = False,
) -> dict[str, list[Item]]:
    """Say what is to be said about the groups of each set.

    Parameters
    ----------
    sets
        The groups of each set.
    tasks
        ``"summarize"`` and ``"ask"``.
    texts
        Texts about groups; those without one are described by a template.
    seed
        Draws the questions.
    alone
        Ask every question by itself; otherwise questions about a training group follow each other.
    """
    items: dict[str, list[Item]] = {}
    for number, (which, groups) in enumerate(sets.items()):
        told = [Item(name, texts=tuple((texts or {}).get(name, ()))) for name in groups.names]
        questions = questions_about(groups, seed=seed + number)
        if which == TRAIN and not alone:
            asked = opening(questions, seed)
        else:
            asked = [Item(one.group, question=one) for one in questions]
        items[which] = (told if "summarize" in tasks else []) + (asked if "ask" in tasks else [])
    for which in (TRAIN, VALIDATION):
        if "ask" in tasks and not any(item.question for item in items[which]):
            raise ValueError(
                f"There is nothing to ask about the {which} groups: name the column with cell types (label_key=), columns that say "
                "where cells are from (context=), or give more groups."
            )
    return items


def make_language_plan(
    start: Start,
    wording: Wording,
    *,
    tasks: tuple[str, ...],
    n_items: int,
    columns: dict[str, Any],
    seed: int,
    n_top_genes: int | None = None,
    n_epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    patience: int | None = None,
) -> LanguagePlan:
    """Fill in what was not asked for."""
    rate = start.rate if learning_rate is None else learning_rate
    assert rate is not None, "a nano does not talk"
    return LanguagePlan(
        tasks=tasks,
        wording=wording,
        n_top_genes=TOP_GENES if n_top_genes is None else n_top_genes or None,
        n_epochs=int(np.clip(ROWS / max(n_items, 1), *EPOCHS)) if n_epochs is None else n_epochs,
        settings=sft.Settings(
            learning_rate=rate,
            batch_size=batch_size or BATCH,
            embedding_rate=1.0,
            weight_decay=0.0,
            n_evaluations=N_EVALUATIONS,
            patience=PATIENCE if patience is None else patience,
            seed=seed,
        ),
        columns=columns,
    )


def train_language(
    sets: Mapping[str, Groups],
    items: Mapping[str, Sequence[Item]],
    kinds: np.ndarray,
    plan: LanguagePlan,
    start: Start,
    *,
    output_dir: Path,
    resume: bool = True,
) -> tuple[directory.ModelCard, pd.DataFrame]:
    """Train on what is said about the training groups, choose on the validation groups, report on the test groups.

    Parameters
    ----------
    sets
        Groups of each set; the training groups know of no other cells than theirs.
    items
        What is to be said about them.
    kinds
        What kind each training cell is, by which genes are chosen; NaN where that is not known.
    plan
        What to do.
    start
        What to train.
    output_dir
        The model directory.
    resume
        Go on with an earlier run of the same plan on the same cells that was stopped.

    Returns
    -------
    The card that was written, and the history of the training.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    learn = sets[TRAIN]
    digest = fingerprint(sets)
    run = {
        "plan": asdict(plan),
        "data": digest,
        "items": said(items),
        "base": start.base,
        "adapter": start.peft_config,
    }
    same_run(output_dir, run, resume=resume)

    known = pd.notna(kinds)
    vocabulary = informative_genes(learn.log[known], kinds[known].astype(str), n_top=plan.n_top_genes)
    if start.genes:  # an earlier run has given tokens to these
        vocabulary = vocabulary[np.isin(learn.genes[vocabulary].astype(str), start.genes)]
        check_known(vocabulary, start)
    genes = learn.genes[vocabulary]
    with sft.quiet():
        model, tokenizer = start.open([], {}, False, genes)
    talking = Talking(sets, items, plan.wording, genes, plan.settings.seed)
    check_fit(talking, model, tokenizer)
    rows = talking.rows(tokenizer)
    rng = np.random.default_rng(plan.settings.seed)
    order = schedule(rows.lengths, n_epochs=plan.n_epochs, batch_size=plan.settings.batch_size, rng=rng)
    model, history = sft.train(
        model,
        tokenizer,
        [rows],
        np.column_stack([np.zeros_like(order), order]),
        lambda trained: talking.judge(trained, tokenizer),
        settings=plan.settings,
        output_dir=output_dir,
        peft_config=start.adapter(tokenizer),
        precision=start.precision,
        resume=resume,
    )
    wording = plan.wording
    card = directory.ModelCard(
        task=list(plan.tasks),
        groupby=JOIN.join(plan.columns["groupby"]),
        genes=[str(gene) for gene in genes],
        recipe=Recipe(n_genes=wording.n_genes, organism=learn.organism).to_dict(),
        family=wording.family,
        language={
            **{name: getattr(wording, name) for name in ("n_cells", "n_genes", "style", "evidence")},
            "columns": plan.columns,
        },
        base=start.base,
        metrics=talking.report(model, tokenizer),
        data={"fingerprint": digest, **n_groups(sets)},
        seed=plan.settings.seed,
        versions={name: version(name) for name in ("sc-c2s", "torch", "transformers", "trl", "peft", "scanpy")},
    )
    finish(start, model, tokenizer, card, history, output_dir)
    return card, history


def n_groups(sets: Mapping[str, Groups]) -> dict[str, int]:
    """Count the groups of each set, without mixtures, for the card."""
    return {f"n_{which}": len(sets[which].given) for which in SETS if which in sets}


def fingerprint(sets: Mapping[str, Groups]) -> str:
    """Digest of cells, values, groups and sets; mixtures follow from these and the seed."""
    digest = hashlib.sha256()
    for which, groups in sets.items():
        digest.update("\n".join([which, *map(str, groups.genes), *map(str, groups.cells)]).encode())
        for array in (groups.x.indptr, groups.x.indices, groups.x.data):
            digest.update(np.ascontiguousarray(array).tobytes())
        for of_cell in (groups.strata, groups.samples):
            digest.update(repr(None if of_cell is None else of_cell.tolist()).encode())
        for name in groups.given:
            digest.update(repr((name, groups.composition(name), groups.facts[name].context)).encode())
            digest.update(np.ascontiguousarray(groups.members[name]).tobytes())
    return digest.hexdigest()[:16]


def said(items: Mapping[str, Sequence[Item]]) -> str:
    """Digest of what is said about the groups of each set."""
    text = repr([(which, [asdict(item) for item in some]) for which, some in items.items()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
