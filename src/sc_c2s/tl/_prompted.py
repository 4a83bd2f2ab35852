"""A gene list for what a user wrote in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scanpy import logging as logg

from sc_c2s.engine import Sampling
from sc_c2s.prompts import find_condition
from sc_c2s.sentences.text import quote

from ._writer import N_GENES, CellWriter, open_writer

if TYPE_CHECKING:
    from sc_c2s.engine import Writer
    from sc_c2s.models import LoadedModel


def prompted(
    prompt: str,
    model: str | Path | LoadedModel | Writer,
    *,
    genes: Sequence[str] | None = None,
    n_cells: int = 1,
    n_genes: int | None = None,
    temperature: float | None = None,
    batch_size: int | None = None,
    rng: int = 0,
    device: str = "auto",
) -> list[str]:
    """Write sentences for a prompt.

    A model that names its conditions is asked for the one that the prompt names, in the words it was trained with; any other
    model gets the prompt as it is.

    Parameters
    ----------
    prompt
        What a user wrote, for example ``"Generate gene list for healthy B cells"``.
    model
        Model directory, hub id, loaded model or engine.
    genes
        Genes that a model may write that does not name its own.
    n_cells
        Number of sentences.
    n_genes
        Most genes in each.
    temperature
        0 writes the most probable genes; by default that of the model.
    batch_size
        Sentences in a batch.
    rng
        Seed.
    device
        Where to run.

    Returns
    -------
    The sentences.

    Raises
    ------
    ValueError
        If the model does not know what the prompt asks for, or which genes it may write.
    """
    writer = open_writer(model, device=device, dtype="auto")
    generator = np.random.default_rng(rng)
    sampling = Sampling(temperature=writer.temperature if temperature is None else temperature)
    if writer.genes is None:
        if genes is None:
            raise ValueError(
                "The model does not say which genes it knows: name some cells that have them with --genes."
            )
        words = [quote(gene) for gene in dict.fromkeys(genes)]
        seeds = generator.integers(2**63, size=n_cells)
        lists = writer.engine.generate(
            [prompt.rstrip()] * n_cells,
            words,
            max_items=n_genes or N_GENES,
            sampling=sampling,
            seeds=seeds,
            balanced=True,
            batch_size=batch_size,
        )
        return [" ".join(words[i] for i in one.items) for one in lists]
    wanted = _condition(prompt, writer)
    _, sentences = writer.write(
        [wanted] * n_cells, n_genes=n_genes, sampling=sampling, balanced=True, rng=generator, batch_size=batch_size
    )
    return sentences


def _condition(prompt: str, writer: CellWriter) -> tuple[str, ...]:
    """Condition that the prompt names, in the model's words."""
    found = find_condition(prompt, list(writer.conditions)) if writer.groupings else ()
    if found is None:
        # The same words as where a condition is asked for by name.
        writer.check(writer.groupings or (), [(prompt,)])
    assert found is not None
    if found:
        names = writer.groupings or ()
        logg.info("    reading the prompt as " + ", ".join(f"{k} = {v}" for k, v in zip(names, found, strict=True)))
    return found
