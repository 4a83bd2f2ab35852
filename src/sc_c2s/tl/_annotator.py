"""A model, and what it has to be asked to annotate cells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scanpy import logging as logg

from sc_c2s.engine import Engine, probabilities
from sc_c2s.models import LoadedModel
from sc_c2s.prompts import annotate_answer, annotate_prompt
from sc_c2s.sentences.recipe import Recipe
from sc_c2s.sentences.symbols import guess_organism, overlap

from ._opened import open_model

FAMILY = "english"
GROUPBY = "cell type"
LEAST_OVERLAP = 0.1
"""Share of the genes in common, of the shorter list, below which an answer would be a guess."""


@dataclass(frozen=True)
class Annotator:
    """An engine, and what it has to be asked.

    Attributes
    ----------
    engine
        What scores answers.
    source
        Where the model came from, for the record.
    labels
        Labels to choose from.
    genes
        Genes that the model reads; ``None`` for any.
    recipe
        How it wants its sentences; ``None`` if it does not say.
    family, groupby
        Wording of the prompts.
    temperature
        Divides the log-probabilities.
    n_views
        Number of tie orders that are averaged.
    """

    engine: Engine
    source: dict[str, Any]
    labels: list[str]
    genes: list[str] | None = None
    recipe: Recipe | None = None
    family: str = FAMILY
    groupby: str = GROUPBY
    temperature: float = 1.0
    n_views: int = 1

    @property
    def params(self) -> dict[str, Any]:
        """What was asked, and of whom."""
        names = ("family", "groupby", "temperature", "n_views")
        n_genes = self.recipe.n_genes if self.recipe else None
        scoring = getattr(self.engine, "scoring", None)
        return self.source | {name: getattr(self, name) for name in names} | {"n_genes": n_genes, "scoring": scoring}

    def choose(self, labels: Iterable[str] | None, groupby: str | None) -> Annotator:
        """Restrict or extend the labels, and say what they are."""
        chosen = self.labels if labels is None else _check_labels(labels)
        if not chosen:
            raise ValueError("This model has no labels of its own; name those to choose from with labels=[…].")
        new = [label for label in chosen if label not in self.labels] if self.labels else []
        if new:
            logg.warning(f"{len(new)} labels are new to the model (for example {new[0]!r}): it was not trained on them")
        return replace(self, labels=chosen, groupby=groupby or self.groupby)

    def check_genes(self, genes: np.ndarray) -> None:
        """Refuse data whose genes the model does not know."""
        if self.genes is None:
            return
        found = overlap(genes, self.genes)
        n_shared, n_known = found["n_shared"], found["n_vocabulary"]
        if n_shared < LEAST_OVERLAP * min(len(genes), n_known) or not n_shared:
            raise ValueError(
                f"Only {n_shared} of the model's {n_known} genes are among the {len(genes)} of the data ({genes[0]!r}, … "
                f"here, {self.genes[0]!r}, … there{_organisms(genes, self.genes)}); name the column of var with the "
                "model's kind of symbols with gene_symbols=, or take a model for these genes."
            )
        logg.info(f"    {n_shared} of the model's {n_known} genes are in the data")

    def ask(self, views: list[list[str]], batch_size: int | None) -> np.ndarray:
        """Probabilities of the labels (cells × labels), averaged over the views."""
        organism = self.recipe.organism if self.recipe else None
        prompts = [
            annotate_prompt(sentence, family=self.family, groupby=self.groupby, organism=organism)
            for view in views
            for sentence in view
        ]
        return self.probabilities(prompts, batch_size, n_views=len(views))

    def probabilities(self, prompts: list[str], batch_size: int | None, *, n_views: int = 1) -> np.ndarray:
        """Probabilities of the labels behind prompts (prompts × labels), of which views follow each other and are averaged."""
        answers = [annotate_answer(label, self.family) for label in self.labels]
        scores = np.asarray(self.engine.score(prompts, answers, batch_size=batch_size))
        return probabilities(scores.reshape(n_views, -1, len(answers)), temperature=self.temperature)


def open_annotator(
    model: str | Path | LoadedModel | Engine, *, device: str, dtype: str, engine: str = "local"
) -> Annotator:
    """Open a model with what its directory says about annotating."""
    opened, source, card = open_model(model, "annotate", device=device, dtype=dtype, engine=engine)
    if card is None:
        return Annotator(opened, source, [])
    return Annotator(
        opened,
        source,
        labels=card.labels,
        genes=card.genes,
        recipe=Recipe.from_dict(card.recipe),
        family=card.family,
        groupby=card.groupby,
        temperature=card.temperature,
        n_views=card.n_views,
    )


def _check_labels(labels: Iterable[str]) -> list[str]:
    if isinstance(labels, str):
        raise TypeError(f"labels={labels!r} is one text; give a list of labels.")
    labels = list(labels)
    wrong = [label for label in labels if not isinstance(label, str) or not label.strip()]
    if wrong or not labels:
        raise ValueError(
            f"labels= has to be a list of names that are not empty, not {wrong[0] if wrong else labels!r}."
        )
    if len(set(labels)) < len(labels):
        raise ValueError("labels= names a label twice; give each once.")
    return labels


def _organisms(here: np.ndarray, there: list[str]) -> str:
    ours, theirs = guess_organism(here), guess_organism(there)
    return f"; these look like {ours} and {theirs} genes" if ours and theirs and ours != theirs else ""
