"""``tl.finetune`` for tasks about single cells: cells are put into sets, and what is asked about them is learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scanpy import logging as logg

from sc_c2s.data import Cells, combined
from sc_c2s.sentences.symbols import guess_organism
from sc_c2s.training.pairs import PAIRINGS

from ._groups import expression
from ._rewarded import improve

if TYPE_CHECKING:
    from sc_c2s.models.directory import ModelCard
    from sc_c2s.training.plan import PerturbingPlan

ANY = "any"
"""Label of cells that are not told apart."""


class Learned(NamedTuple):
    """What came of a training."""

    card: ModelCard
    history: pd.DataFrame
    split: pd.Series
    """Set of each cell."""
    stopped: str | None = None
    """Why it was stopped early, if it was."""


def learn_cells(
    cells: Cells,
    tasks: tuple[str, ...],
    groupings: tuple[str, ...],
    perturbing: PerturbingPlan | None,
    *,
    held_out: Mapping[str, str | Sequence[str]] | None,
    model: str | Path,
    method: str,
    rewards: Sequence[str | Callable[..., list[float | None]]] | None,
    reward_weights: Sequence[float] | None,
    organism: str | None,
    n_genes: int | None,
    n_top_genes: int | None,
    gene_tokens: bool | None,
    by: pd.Series | None,
    validation_size: float,
    test_size: float,
    n_epochs: int | None,
    n_steps: int | None,
    n_generations: int | None,
    n_words: int | None,
    beta: float,
    tolerance: float,
    batch_size: int | None,
    learning_rate: float | None,
    patience: int | None,
    lora_rank: int,
    device: str,
    dtype: str,
    output_dir: Path,
    resume: bool,
    generator: np.random.Generator,
) -> Learned:
    """Train a model on single cells; arguments are those of :func:`~sc_c2s.tl.finetune`, read."""
    columns = groupings if perturbing is None else (*groupings, perturbing.condition_key)
    conditions = pd.DataFrame({name: cells.labels(name) for name in columns}, index=cells.obs_names)
    kinds = [conditions[name] for name in columns] or [pd.Series(ANY, index=cells.obs_names)]

    from sc_c2s.training.split import split_cells

    test = None if perturbing is None else _held_out(cells, conditions[perturbing.condition_key], perturbing, held_out)
    split = split_cells(
        combined(kinds) if test is None else combined(kinds).where(~test),
        by=by,
        validation=validation_size,
        test=test_size if test is None else 0.0,
        rng=generator,
        n_least=2 if "annotate" in tasks else 1,
    )
    if test is not None:
        split[test & combined(kinds).notna().to_numpy()] = "test"
    used = split.notna().to_numpy()
    logg.info(
        f"    {used.sum()} cells with a label, {split.value_counts().to_dict()}"
        + (f"; {n} cells without one are left out" if (n := int((~used).sum())) else "")
    )

    from sc_c2s.training.plan import make_plan
    from sc_c2s.training.run import train_model
    from sc_c2s.training.start import choose

    seed = int(generator.integers(2**31))
    labelled = _labelled(cells, conditions, split, used, organism=organism)
    begin = choose(
        model,
        lora_rank=lora_rank,
        device=device,
        dtype=dtype,
        seed=seed,
        reads=tasks == ("annotate",),
        gene_tokens=gene_tokens,
    )
    if method == "grpo":
        card, history, stopped = improve(
            labelled,
            begin,
            tasks[0],
            rewards,
            model=Path(model),
            output_dir=output_dir,
            perturbing=perturbing,
            resume=resume,
            weights=reward_weights,
            seed=seed,
            n_steps=n_steps,
            n_prompts=batch_size,
            n_generations=n_generations,
            n_words=n_words,
            learning_rate=learning_rate,
            beta=beta,
            tolerance=tolerance,
            patience=patience,
        )
    else:
        stopped = None
        plan = make_plan(
            begin,
            n_train=_n_rows(labelled, perturbing),
            organism=labelled.organism,
            seed=seed,
            tasks=tasks,
            n_genes=n_genes,
            n_top_genes=n_top_genes,
            n_epochs=n_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            patience=patience,
            perturbing=perturbing,
        )
        card, history = train_model(labelled, plan, begin, output_dir=output_dir, resume=resume)

    return Learned(card, history, split, stopped)


def perturbing_plan(
    tasks: tuple[str, ...],
    groupings: tuple[str, ...],
    condition_key: str | None,
    control: str | None,
    pairing: str,
    held_out: Mapping[str, str | Sequence[str]] | None,
    min_cells: int,
) -> PerturbingPlan | None:
    """Say what the perturbation task learns from; refuse what belongs to it where it is not asked for."""
    if "perturb" not in tasks:
        given = {"condition_key": condition_key, "control": control, "held_out": held_out}
        if wrong := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"{wrong[0]}= is for task='perturb': leave it out, or learn that.")
        return None
    if len(tasks) > 1:
        raise ValueError("A model that perturbs learns nothing else: use task='perturb' alone.")
    if condition_key is None or control is None:
        raise ValueError(
            "To perturb, name the column of obs with the perturbations (condition_key=) and its value for control cells (control=)."
        )
    if condition_key in groupings:
        raise ValueError(f"groupby= holds {condition_key!r}, the perturbations themselves: leave it out there.")
    if pairing not in PAIRINGS:
        raise ValueError(f"There is no pairing {pairing!r}; choose from {', '.join(map(repr, PAIRINGS))}.")

    if min_cells < 1:
        raise ValueError(f"min_cells={min_cells} has to be 1 or more.")

    from sc_c2s.training.plan import PerturbingPlan

    return PerturbingPlan(condition_key=condition_key, control=control, pairing=pairing, min_cells=min_cells)


def _held_out(
    cells: Cells,
    condition: pd.Series,
    perturbing: PerturbingPlan,
    held_out: Mapping[str, str | Sequence[str]] | None,
) -> np.ndarray | None:
    """Perturbed cells that are not to be learned from; ``None`` if that is left to chance."""
    if perturbing.control not in set(condition.dropna()):
        found = ", ".join(map(repr, sorted(set(condition.dropna()))[:10]))
        raise ValueError(
            f"No cell has the value {perturbing.control!r} in obs[{perturbing.condition_key!r}] (there are {found}): control= names "
            "the cells to which nothing was done."
        )
    if not held_out:
        return None
    out = (condition != perturbing.control).to_numpy() & condition.notna().to_numpy()
    for name, values in held_out.items():
        column = cells.labels(name)
        wanted = {values} if isinstance(values, str) else set(map(str, values))
        if missing := sorted(wanted - set(column.dropna())):
            raise ValueError(f"held_out= names {missing[0]!r}, and no cell has that in obs[{name!r}].")
        out &= column.isin(wanted).to_numpy()
    if not out.any():
        raise ValueError("held_out= leaves no perturbed cell for the test: check its columns and values.")
    return out


def _n_rows(labelled: Any, perturbing: PerturbingPlan | None) -> int:
    """Count the rows of an epoch: one for each training cell, or for each control cell and some for each pair."""
    from sc_c2s.training.plan import LEAST_ROWS

    train = labelled.of("train")
    if perturbing is None:
        return max(len(train), 1)
    control = labelled.perturbations[train] == perturbing.control
    return max(int(control.sum()), LEAST_ROWS * len(set(labelled.kinds[train[~control]])), 1)


def _labelled(cells: Any, conditions: pd.DataFrame, split: pd.Series, used: np.ndarray, *, organism: str | None) -> Any:
    from sc_c2s.training.cells import LabelledCells

    x, log = expression(cells)
    values = conditions.to_numpy(dtype=object)[used]
    return LabelledCells(
        x=x[used],
        log=log[used],
        genes=np.asarray(cells.genes),
        cells=cells.obs_names.to_numpy()[used],
        labels=values[:, 0] if values.shape[1] else np.full(len(values), ANY, dtype=object),
        split=split.to_numpy()[used],
        groupby=conditions.columns[0] if len(conditions.columns) else ANY,
        organism=guess_organism(cells.genes) if organism is None else organism,
        conditions=values,
        groupings=tuple(conditions.columns),
    )
