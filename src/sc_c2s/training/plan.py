"""What is trained, and on which sentences: what a user asked for, and what is best where nothing was asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sc_c2s.sentences.recipe import Recipe

from .augment import Augmentation
from .sft import Settings
from .start import Start

NANO_TOP_GENES = 1000
"""Gene vocabulary of a nano; a pretrained model reads every gene."""
NANO_ROWS, NANO_EPOCHS = 2_000, (1, 20)
"""Rows a nano is shown, and the fewest and most times that each cell is among them."""
NANO_RATE = 5e-5
WRITER_TOP_GENES, WRITER_ROWS, WRITER_RATE = 2000, 16_000, 1e-3
"""The same of a nano that writes cells: every gene of a cell is something to learn from, and to learn."""
PERTURBER_ROWS, PERTURBER_RATE = 10_000, 1e-4
"""The same of a nano that tells changes: it starts as a linear model of them."""
LEAST_ROWS = 5
"""Fewest rows for a context and what was done in it."""
NANO_BATCH, PRETRAINED_BATCH = 32, 8
"""Rows in one step: an adapter learns more from the same rows in more steps."""
PRETRAINED_EPOCHS, PRETRAINED_PATIENCE = 3, 3
PRETRAINED_GENES = 200
"""Sentence of a pretrained model, which spends three or four tokens on a gene, or one if it gets tokens for them."""
GENE_TOKENS = 5000
"""Most genes that a pretrained model gets tokens for: their vectors are the larger part of the adapter."""
N_EVALUATIONS = 10


@dataclass(frozen=True)
class PerturbingPlan:
    """What the perturbation task learns from.

    Attributes
    ----------
    condition_key
        What a perturbation is called in prompts.
    control
        Value of cells to which nothing was done.
    pairing
        How a control cell gets its perturbed partner.
    min_cells
        Fewest control and perturbed cells of a context that say what changes in it.
    pull
        How strongly the read-out is held to the mean change.
    scale
        Scale of the changes that the model tells; by default a little more than the largest one there is.
    """

    condition_key: str
    control: str
    pairing: str = "random"
    min_cells: int = 3
    pull: float = 1e-5
    scale: float | None = None


@dataclass(frozen=True)
class Plan:
    """What is trained, and on which sentences.

    Attributes
    ----------
    family
        Prompt family.
    recipe
        How sentences are made.
    n_top_genes
        Size of the gene vocabulary; ``None`` keeps every expressed gene.
    n_epochs
        Number of times every training cell is shown, each time as another variant.
    augmentation
        How far variants go.
    settings
        How the trainer is run.
    tasks
        What is learned.
    perturbing
        What the perturbation task learns from, if it is one of them.
    """

    family: str
    recipe: Recipe
    n_top_genes: int | None
    n_epochs: int
    augmentation: Augmentation
    settings: Settings
    tasks: tuple[str, ...] = ("annotate",)
    perturbing: PerturbingPlan | None = None

    @property
    def writes(self) -> bool:
        """Whether words have other vectors where they are written than where they are read."""
        return bool({"generate", "perturb"} & set(self.tasks))


def make_plan(
    start: Start,
    *,
    n_train: int,
    organism: str | None,
    seed: int,
    tasks: tuple[str, ...] = ("annotate",),
    n_genes: int | None = None,
    n_top_genes: int | None = None,
    n_epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    patience: int | None = None,
    perturbing: PerturbingPlan | None = None,
) -> Plan:
    """Fill in what was not asked for; it depends on the kind of model and the number of training cells."""
    small, writer = start.small, start.small and bool({"generate", "perturb"} & set(tasks))
    if n_epochs is None:
        rows = PERTURBER_ROWS if "perturb" in tasks else WRITER_ROWS if writer else NANO_ROWS
        n_epochs = int(np.clip(rows / n_train, *NANO_EPOCHS)) if small else PRETRAINED_EPOCHS
    if n_genes is None and not small:
        n_genes = PRETRAINED_GENES
    if n_top_genes is None:
        n_top_genes = WRITER_TOP_GENES if writer else NANO_TOP_GENES if small else 0
    if patience is None and not small:
        patience = PRETRAINED_PATIENCE
    if learning_rate is None:
        small_rate = PERTURBER_RATE if tasks == ("perturb",) else WRITER_RATE if writer else NANO_RATE
        learning_rate = small_rate if start.rate is None else start.rate
    return Plan(
        family=start.family,
        recipe=Recipe(n_genes=n_genes, organism=organism),
        n_top_genes=n_top_genes or None,
        n_epochs=n_epochs,
        augmentation=Augmentation(),
        settings=Settings(
            learning_rate=learning_rate,
            batch_size=batch_size or (NANO_BATCH if small else PRETRAINED_BATCH),
            embedding_rate=0.1 if small and not writer else 1.0,
            weight_decay=0.05 if small else 0.0,
            n_evaluations=N_EVALUATIONS,
            patience=patience,
            seed=seed,
        ),
        tasks=tasks,
        perturbing=perturbing,
    )
