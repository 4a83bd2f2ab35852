"""A model, and what it has to be asked to write cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from sc_c2s.engine import Sampling, Writer
from sc_c2s.models import LoadedModel
from sc_c2s.prompts import generate_prompt
from sc_c2s.sentences.levels import Levels
from sc_c2s.sentences.recipe import Recipe
from sc_c2s.sentences.text import quote

from ._opened import open_model

FAMILY = "english"
N_GENES = 200
"""Cell of a model that does not say how long its cells are."""


@dataclass(frozen=True)
class CellWriter:
    """An engine, and what it has to be asked.

    Attributes
    ----------
    engine
        What writes lists.
    source
        Where the model came from, for the record.
    genes
        Genes that the model writes; ``None`` for any.
    recipe
        How long its sentences are.
    family
        Wording of the prompts.
    groupings
        What its conditions are called.
    conditions
        Conditions it was trained on: the values of each, with the number of training cells. Empty if it does not say.
    levels
        Values of training cells of each of these conditions, in their order.
    temperature
        Temperature to draw genes at, if none is asked for.
    """

    engine: Writer
    source: dict[str, Any]
    genes: list[str] | None = None
    recipe: Recipe = Recipe(n_genes=N_GENES)
    family: str = FAMILY
    groupings: tuple[str, ...] | None = None
    conditions: dict[tuple[str, ...], int] = field(default_factory=dict)
    levels: Levels | None = None
    temperature: float = 1.0

    def check(self, groupings: tuple[str, ...], wanted: Iterable[tuple[str, ...]]) -> None:
        """Refuse conditions that the model was not trained on."""
        if self.groupings is None:
            return
        if set(groupings) != set(self.groupings):
            known = ", ".join(map(repr, self.groupings)) or "no grouping"
            raise ValueError(
                f"The model writes cells by {known}, not by {', '.join(map(repr, groupings)) or 'nothing'}: set groupby= to that."
            )
        unknown = [value for value in wanted if value not in self.conditions]
        if unknown:
            known = "; ".join(", ".join(value) for value in list(self.conditions)[:20])
            more = len(self.conditions) - 20
            raise ValueError(
                f"The model does not know the condition {', '.join(unknown[0])!r}. It knows: {known}"
                f"{f' and {more} more' if more > 0 else ''}."
            )

    def draw_conditions(self, n: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
        """Draw conditions as often as there were training cells of them."""
        known = list(self.conditions)
        sizes = np.array(list(self.conditions.values()), dtype=float)
        return [known[i] for i in rng.choice(len(known), size=n, p=sizes / sizes.sum())]

    def write(
        self,
        wanted: list[tuple[str, ...]],
        *,
        n_genes: int | None,
        sampling: Sampling,
        balanced: bool,
        rng: np.random.Generator,
        batch_size: int | None,
    ) -> tuple[sparse.csr_matrix, list[str]]:
        """Write a cell of each condition.

        Each borrows length and values of a training cell of its condition.

        Returns
        -------
        Cells × genes in log1p counts per 10,000, and their sentences.
        """
        if self.levels is None or self.genes is None:
            raise ValueError(
                "The model does not say how long its cells are: train it with tl.finetune(task='generate')."
            )
        names, order = self.groupings or (), {value: i for i, value in enumerate(self.conditions)}
        models = self.levels.draw(np.array([order[value] for value in wanted], dtype=int), rng, balanced=balanced)
        n = self.levels.n_genes[models]
        if n_genes is not None:
            n = np.minimum(n, n_genes)
        prompts = [
            generate_prompt(
                dict(zip(names, value, strict=True)),
                family=self.family,
                organism=self.recipe.organism,
                n_genes=self.recipe.n_genes,
            )
            for value in wanted
        ]
        seeds = rng.integers(2**63, size=len(wanted))
        words = np.array([quote(gene) for gene in self.genes], dtype=object)
        lists = self.engine.generate(
            prompts,
            list(words),
            max_items=n,
            min_items=n,
            sampling=sampling,
            seeds=seeds,
            balanced=balanced,
            batch_size=batch_size,
        )
        n = np.array([len(one.items) for one in lists], dtype=np.int64)
        columns = np.concatenate([np.zeros(0, dtype=np.int32), *(one.items for one in lists)])
        indptr = np.concatenate([[0], np.cumsum(n)])
        x = sparse.csr_matrix((self.levels.take(models, n), columns, indptr), shape=(len(lists), len(words)))
        x.sort_indices()
        return x, [" ".join(words[one.items]) for one in lists]


def open_writer(model: str | Path | LoadedModel | Writer, *, device: str, dtype: str) -> CellWriter:
    """Open a model with what its directory says about writing cells."""
    engine, source, card = open_model(model, "generate", device=device, dtype=dtype)
    if card is None:
        return CellWriter(engine, source)
    known = card.conditions
    return CellWriter(
        engine,
        source,
        genes=card.genes,
        recipe=Recipe.from_dict(card.recipe),
        family=card.family,
        groupings=tuple(known["groupby"]),
        conditions={tuple(value): n for value, n in zip(known["values"], known["n_cells"], strict=True)},
        levels=Levels.from_dict(card.levels) if card.levels else None,
        temperature=card.sampling_temperature,
    )


def as_conditions(
    conditions: Mapping[str, Any] | pd.DataFrame | Iterable[Any] | str | None, groupings: tuple[str, ...]
) -> list[tuple[str, ...]] | None:
    """Read the conditions that a user asked for: the values of each grouping."""
    if conditions is None:
        return None
    if isinstance(conditions, str):
        conditions = [conditions]
    if isinstance(conditions, Mapping):
        conditions = pd.DataFrame({name: np.atleast_1d(np.asarray(x, dtype=object)) for name, x in conditions.items()})
    if isinstance(conditions, pd.DataFrame):
        missing = [name for name in groupings if name not in conditions]
        if missing:
            raise KeyError(f"conditions= has no {missing[0]!r}: give a value for each of {', '.join(groupings)}.")
        rows = conditions[list(groupings)].to_numpy(dtype=object).tolist()
        return [tuple(str(value) for value in row) for row in rows]
    rest: Iterable[Any] = conditions
    found = [(value,) if isinstance(value, str) else tuple(map(str, value)) for value in rest]
    wrong = [value for value in found if len(value) != len(groupings)]
    if wrong or not found:
        raise ValueError(
            f"conditions= has to be a list with a value for each of {', '.join(groupings) or 'no grouping'}, "
            f"not {wrong[0] if wrong else found!r}."
        )
    return found
