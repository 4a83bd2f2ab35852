"""``tl.finetune(task="summarize" | "ask")``: groups of cells are put into sets, and what is said about them is learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sc_c2s.data import Cells, combined
from sc_c2s.prompts.group import STYLES
from sc_c2s.sentences.symbols import guess_organism
from sc_c2s.training.groups import Groups
from sc_c2s.training.mixtures import with_mixtures
from sc_c2s.training.split import TEST, TRAIN, VALIDATION, split_cells

from ._finetune_cells import Learned
from ._groups import expression
from ._rewarded import card_to_improve, settings_of

LANGUAGE = ("summarize", "ask")
N_CELLS, N_GENES = 20, 15


def check_language(tasks: tuple[str, ...], given: Mapping[str, Any]) -> None:
    """Refuse what belongs to talking where it is not asked for, and what talking cannot do.

    Parameters
    ----------
    tasks
        Tasks that were asked for.
    given
        Arguments that only these tasks have; ``None`` where they were left out.
    """
    if not set(tasks) & set(LANGUAGE):
        if wrong := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"{wrong[0]}= is for task='summarize' and task='ask': leave it out, or learn one of them.")
        return
    if "summarize" not in tasks and (wrong := [name for name in ("texts", "style") if given[name] is not None]):
        raise ValueError(f"{wrong[0]}= is for task='summarize': leave it out, or learn that.")
    if given["style"] not in (None, *STYLES):
        raise ValueError(f"There is no style {given['style']!r}; choose from {', '.join(map(repr, STYLES))}.")
    if given["n_cells"] is not None and given["n_cells"] < 1:
        raise ValueError(f"n_cells={given['n_cells']} shows no cell: use 1 or more.")


def learn_language(
    cells: Cells,
    tasks: tuple[str, ...],
    groupby: Sequence[str],
    *,
    label_key: str | None,
    sample_key: str | None,
    subgroup_key: str | None,
    context: Sequence[str],
    texts: Mapping[str, str | Sequence[str]] | None,
    evidence: bool | None,
    style: str | None,
    n_cells: int | None,
    n_genes: int | None,
    model: str | Path,
    method: str,
    rewards: Sequence[str | Callable[..., list[float | None]]] | None,
    reward_weights: Sequence[float] | None,
    n_steps: int | None,
    n_generations: int | None,
    n_words: int | None,
    beta: float,
    tolerance: float,
    batch_size: int | None,
    learning_rate: float | None,
    patience: int | None,
    gene_tokens: bool | None,
    lora_rank: int,
    device: str,
    dtype: str,
    organism: str | None,
    by: pd.Series | None,
    validation_size: float,
    test_size: float,
    output_dir: Path,
    resume: bool,
    generator: np.random.Generator,
    n_top_genes: int | None,
    n_epochs: int | None,
) -> Learned:
    """Teach a pretrained model to talk about groups of cells; arguments are those of :func:`~sc_c2s.tl.finetune`, read."""
    from sc_c2s.training.language import Wording
    from sc_c2s.training.language_run import items_of, make_language_plan, train_language
    from sc_c2s.training.start import choose

    if not groupby:
        raise ValueError("groupby= has to name the column of obs, or several, whose groups are to be talked about.")
    columns: dict[str, Any] = {
        "groupby": list(groupby),
        "label_key": label_key,
        "sample_key": sample_key,
        "subgroup_key": subgroup_key,
        "context": list(context),
    }
    card = card_to_improve(model, tasks[0], output_dir) if method == "grpo" else None
    if card is not None:  # what is left out is as it was
        columns = {name: given or card.language["columns"][name] for name, given in columns.items()}
    group = combined([cells.labels(name) for name in groupby])
    split = split_groups(group, by=by, validation=validation_size, test=test_size, rng=generator)
    seed = int(generator.integers(2**31))
    begin = choose(
        model, lora_rank=lora_rank, device=device, dtype=dtype, seed=seed, reads=True, gene_tokens=gene_tokens
    )
    if begin.small:
        raise ValueError(
            "A nano knows no English: to summarize and to answer questions start from a pretrained language model, such as "
            "model='smollm2'."
        )
    texts = {str(name): (text,) if isinstance(text, str) else tuple(text) for name, text in (texts or {}).items()}
    if unknown := sorted(set(texts) - set(group.dropna())):
        raise ValueError(f"texts= names the group {unknown[0]!r}, which there is not.")
    sets, kinds = sets_of(
        cells,
        group,
        split,
        **{name: value for name, value in columns.items() if name != "groupby"},
        organism=guess_organism(cells.genes) if organism is None else organism,
    )
    if not texts:  # which say nothing of mixtures
        sets[TRAIN] = with_mixtures(sets[TRAIN], seed=seed)
    items = items_of(sets, tasks, texts=texts, seed=seed, alone=card is not None)
    if card is not None:
        from sc_c2s.rl.language_run import improve_language

        card, history, stopped = improve_language(
            sets,
            items,
            card,
            begin,
            rewards,
            columns=columns,
            settings=settings_of(
                tasks[0],
                rewards,
                reward_weights,
                small=False,
                seed=seed,
                n_steps=n_steps,
                n_prompts=batch_size,
                n_generations=n_generations,
                n_words=n_words,
                learning_rate=learning_rate,
                beta=beta,
                tolerance=tolerance,
                patience=patience,
            ),
            output_dir=output_dir,
            resume=resume,
        )
        return Learned(card, history, split, stopped)
    plan = make_language_plan(
        begin,
        Wording(
            family=begin.family,
            n_cells=N_CELLS if n_cells is None else n_cells,
            n_genes=N_GENES if n_genes is None else n_genes,
            style=style or "abstract",
            evidence=bool(evidence),
        ),
        tasks=tasks,
        n_items=len(items[TRAIN]),
        columns=columns,
        seed=seed,
        n_top_genes=n_top_genes,
        n_epochs=n_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
    )
    card, history = train_language(sets, items, kinds, plan, begin, output_dir=output_dir, resume=resume)
    return Learned(card, history, split)


def split_groups(
    group: pd.Series, *, by: pd.Series | None, validation: float, test: float, rng: np.random.Generator
) -> pd.Series:
    """Assign every group to a set, whole.

    Parameters
    ----------
    group
        Group of each cell; NaN where there is none.
    by
        The split itself, or something that must not be torn apart, such as the donor, of which no group has two; by default the
        groups.
    validation, test
        Share of the groups in these sets.
    rng
        Draws the split.

    Returns
    -------
    ``"train"``, ``"validation"``, ``"test"`` or NaN for every cell.
    """
    if by is None:
        check_enough(group, test=test)
        by = group
    else:
        by = with_validation_groups(group, by, validation / max(1 - test, validation), rng)
    split = split_cells(group, by=by, validation=validation, test=test, rng=rng)
    found = pd.DataFrame({"group": group, "split": split}).dropna().groupby("group")["split"].nunique()
    if (torn := found.index[found > 1]).size:
        raise ValueError(
            f"The group {torn[0]!r} has cells in several sets: what is said about it in one would be known in the other. Add "
            "the column of split_key= to groupby=."
        )
    return split


def check_enough(group: pd.Series, *, test: float) -> None:
    """Refuse fewer groups than sets."""
    n, least = group.nunique(), 3 if test else 2
    if n < least:
        raise ValueError(
            f"groupby= has {n} groups, of which whole ones are training, validation and test groups: {least} or more are needed."
        )


def with_validation_groups(group: pd.Series, by: pd.Series, share: float, rng: np.random.Generator) -> pd.Series:
    """Take validation groups, whole, from the training groups of a given split that names none."""
    given = by.astype(object).where(by.notna() & group.notna(), np.nan)
    said = set(given.dropna())
    if TRAIN not in said or not said <= {TRAIN, TEST}:
        return by
    names = sorted(set(group[given == TRAIN]))
    n = max(round(share * len(names)), 1)
    if n == len(names):
        raise ValueError("split_key= leaves one training group, and none to choose on: mark another one 'validation'.")
    return given.mask((given == TRAIN) & group.isin(rng.permutation(names)[:n]), VALIDATION)


def sets_of(
    cells: Cells,
    group: pd.Series,
    split: pd.Series,
    *,
    label_key: str | None,
    sample_key: str | None,
    subgroup_key: str | None,
    context: Sequence[str],
    organism: str | None,
) -> tuple[dict[str, Groups], np.ndarray]:
    """Read the groups of each set, and what kind each training cell is, NaN where that is not known.

    The rest that training groups are set against is training cells; that of the others is all cells, as it will be.
    """
    x, log = expression(cells)
    of_cell, sets = split.to_numpy(dtype=object), {}

    def column(key: str | None) -> np.ndarray | None:
        return None if key is None else cells.labels(key).to_numpy(dtype=object)

    labels, strata, samples = column(label_key), column(subgroup_key), column(sample_key)
    about = {name: cells.labels(name).to_numpy(dtype=object) for name in context}
    for which in (TRAIN, VALIDATION, TEST):
        names = sorted(set(group[of_cell == which].dropna()))
        if not names:
            continue
        seen = np.flatnonzero(of_cell == TRAIN) if which == TRAIN else np.arange(len(of_cell))
        sets[which] = Groups.gather(
            x[seen],
            log[seen],
            group.to_numpy(dtype=object)[seen],
            names,
            genes=np.asarray(cells.genes),
            cells=np.asarray(cells.obs_names)[seen],
            labels=None if labels is None else labels[seen],
            context={name: values[seen] for name, values in about.items()},
            strata=None if strata is None else strata[seen],
            samples=None if samples is None else samples[seen],
            organism=organism,
        )
    learned = of_cell == TRAIN
    # Genes are chosen by what is asked: the cell type, and where a cell is from.
    known = [pd.Series(values[learned]) for values in (labels, *about.values()) if values is not None]
    kinds = combined(known) if known else pd.Series(group.to_numpy(dtype=object)[learned])
    return sets, kinds.to_numpy(dtype=object)
