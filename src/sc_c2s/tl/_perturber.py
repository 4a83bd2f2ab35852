"""A model, and what it has to be asked to tell what a perturbation changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sc_c2s.engine import Engine, probabilities
from sc_c2s.metrics.context_shifts import ContextShifts, Seen
from sc_c2s.metrics.measures import correlation
from sc_c2s.models import LoadedModel
from sc_c2s.prompts import change_answer, perturb_prompt, perturbation_parts
from sc_c2s.sentences.changes import at_level, change_words, to_changes
from sc_c2s.sentences.recipe import Recipe
from sc_c2s.sentences.text import quote

from ._opened import open_model


@dataclass(frozen=True)
class Perturber:
    """An engine, and what it has to be asked.

    Attributes
    ----------
    engine
        What scores answers.
    source
        Where the model came from, for the record.
    genes
        Genes that it reads and whose changes it tells.
    recipe
        How its sentences are made.
    family
        Wording of the prompts.
    condition_key, control
        What a perturbation is called, and the one that is none.
    groupby
        Columns whose combinations are its contexts.
    contexts, values
        Contexts and perturbations that it was trained on.
    scale
        Scale of the changes.
    known
        Means of the training contexts' control cells, log1p counts per 10,000, and what each perturbation added to them.
    blend
        Weight of each method without a model in their best blend.
    centre, components
        Mean (genes) and principal components (components × genes) of the training cells.
    """

    engine: Engine
    source: dict[str, Any]
    genes: np.ndarray
    recipe: Recipe
    family: str
    condition_key: str
    control: str
    groupby: tuple[str, ...]
    contexts: list[str]
    values: list[str]
    scale: float
    known: ContextShifts
    blend: dict[str, float]
    centre: np.ndarray
    components: np.ndarray

    @property
    def control_means(self) -> np.ndarray:
        """Means of the training contexts' control cells (contexts × genes)."""
        return self.known.controls

    def check(self, perturbation: str) -> None:
        """Refuse a perturbation that a model with a vocabulary of its own has no word for."""
        parts = perturbation_parts(perturbation)
        if not parts:
            raise ValueError("perturbation= is empty: name what is done to the cells.")
        unknown = [part for part in parts if part not in self.parts and part not in set(self.genes)]
        if unknown and self.family == "nano":
            raise ValueError(
                f"The model does not know {unknown[0]!r}; it knows {', '.join(sorted(self.parts)[:20])}, the genes of its vocabulary, "
                "and combinations of these joined by ' + '."
            )

    @property
    def parts(self) -> set[str]:
        """Names that it was trained on, combinations taken apart."""
        return {part for value in [self.control, *self.values] for part in perturbation_parts(value)}

    @property
    def reference(self) -> np.ndarray:
        """Level at which the model tells of falls (genes)."""
        return self.control_means.mean(axis=0)

    def changes(
        self, sentences: list[str], means: np.ndarray, perturbation: str, *, batch_size: int | None
    ) -> np.ndarray:
        """Tell what a perturbation changes in each cell.

        Parameters
        ----------
        sentences
            The cells.
        means
            Mean expression of the control cells of each one's context (cells × genes), log1p counts per 10,000.
        perturbation
            What is done to them.
        batch_size
            Cells in a batch.

        Returns
        -------
        Cells × genes, differences of log1p counts per 10,000.
        """
        genes, parts = set(self.genes), self.parts
        prompts = [
            perturb_prompt(
                sentence,
                perturbation,
                family=self.family,
                condition_key=self.condition_key,
                genes=genes,
                known=parts,
                organism=self.recipe.organism,
            )
            for sentence in sentences
        ]
        answers = [change_answer(word) for word in change_words(quote(gene) for gene in self.genes)]
        scores = np.asarray(self.engine.score(prompts, answers, batch_size=batch_size))
        told = to_changes(probabilities(scores), self.scale)
        return np.clip(at_level(told, means, self.reference), *self.limits(perturbation)).astype(np.float32)

    def limits(self, perturbation: str) -> tuple[np.ndarray, np.ndarray]:
        """Give the lowest and the highest change of each gene that a training context showed.

        A softmax grows exponentially with what it reads, so that cells a little beyond the training cells could get changes many
        times as large as any that was seen; none is believed. Of a perturbation that no context saw, the limits are those of all
        that were seen, for each of its parts.
        """
        if perturbation in self.known.perturbations:
            shifts, times = self.known.perturbations[perturbation].shifts, 1
        else:
            # The control is one of these: that the model then tells of no change is up to the model.
            shifts = np.concatenate([seen.shifts for seen in self.known.perturbations.values()])
            times = len(perturbation_parts(perturbation))
        return times * np.minimum(shifts.min(axis=0), 0), times * np.maximum(shifts.max(axis=0), 0)

    def seen(self, perturbation: str) -> Seen:
        """Give the shifts of a perturbation in training contexts; of one that none saw, the mean over all that each context saw."""
        seen = self.known.seen(perturbation)
        if perturbation == self.control:
            return self.known.of(seen.contexts, np.zeros_like(seen.shifts))
        return seen

    def project(self, log: Any, columns: np.ndarray) -> np.ndarray:
        """Cells in the principal components of the training cells, with genes that they lack at the mean of these.

        Parameters
        ----------
        log
            Cells × some genes, log1p counts per 10,000.
        columns
            Numbers of these genes.
        """
        return np.asarray(log @ self.components[:, columns].T - self.centre[columns] @ self.components[:, columns].T)

    def novelty(self, mean: np.ndarray) -> float:
        r"""How far cells are from all contexts that the model was trained on.

        The distance of a context is 1 less the highest Pearson correlation of its mean expression with that of a training
        context. Training contexts have such a distance, too, each to the others.

        Parameters
        ----------
        mean
            Mean expression of the genes.

        Returns
        -------
        Share of the training contexts that are nearer to the others than these cells are to any of them: 0 is well within what
        is known, 1 farther out than all of it.
        """
        if len(self.contexts) < 2:
            return float("nan")
        between = np.corrcoef(self.control_means)
        np.fill_diagonal(between, -1)
        own = 1 - between.max(axis=1)
        here = 1 - max(correlation(mean, other) for other in self.control_means)
        return float((own < here).mean())


def open_perturber(model: str | Path | LoadedModel, *, device: str, dtype: str) -> Perturber:
    """Open a model with what its directory says about perturbations."""
    engine, source, card = open_model(model, "perturb", device=device, dtype=dtype)
    if card is None:
        raise ValueError(
            "The model does not say what it was trained to do to cells: train one with tl.finetune(task='perturb')."
        )
    known = card.perturbations
    return Perturber(
        engine,
        source,
        genes=np.array(card.genes, dtype=object),
        recipe=Recipe.from_dict(card.recipe),
        family=card.family,
        condition_key=known["condition_key"],
        control=known["control"],
        groupby=tuple(known["groupby"]),
        contexts=known["contexts"],
        values=known["values"],
        scale=known["scale"],
        known=ContextShifts.from_arrays(card.shifts, known["values"]),
        blend=known["blend"],
        centre=card.shifts["centre"],
        components=card.shifts["components"],
    )
