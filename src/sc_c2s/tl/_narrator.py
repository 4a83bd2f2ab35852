"""A model that talks about groups of cells, and what it said held against the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scanpy import logging as logg

from sc_c2s._random import named_rng
from sc_c2s.data import Cells
from sc_c2s.engine import Conversation, Sampling, Speaker
from sc_c2s.metrics.cell_names import CellOntology
from sc_c2s.metrics.grounding import COLUMNS, grounding, grounding_shares
from sc_c2s.models import LoadedModel
from sc_c2s.prompts import get_family
from sc_c2s.sentences.symbols import guess_organism
from sc_c2s.training.groups import Groups

from ._groups import fit_genes, label_column, read_groups
from ._opened import open_model
from ._params import columns, plain

FAMILY = "english"
N_CELLS, N_GENES = 20, 50
"""Cells and genes of each that a model is shown that does not say how it wants them."""


@dataclass(frozen=True)
class Narrator:
    """An engine that talks, and what it has to be shown.

    Attributes
    ----------
    engine
        What answers.
    source
        Where the model came from, for the record.
    family
        How it reads genes.
    genes
        Genes that it reads; ``None`` for any.
    usual
        What it was trained with: ``n_cells``, ``n_genes``, ``style``, ``evidence``.
    """

    engine: Speaker
    source: dict[str, Any]
    family: str = FAMILY
    genes: list[str] | None = None
    usual: dict[str, Any] = field(default_factory=dict)

    def asked(self, name: str, value: Any, default: Any) -> Any:
        """Give what was asked for, else what the model was trained with, else what is usual."""
        return self.usual.get(name, default) if value is None else value


@dataclass(frozen=True)
class Scene:
    """Groups, and the cells of each that a model is shown.

    Attributes
    ----------
    narrator
        What is asked.
    groups
        The groups.
    cells
        Numbers of the cells of each group that are shown.
    evidence
        What else is shown of each group.
    n_genes
        Most genes of each cell.
    params
        How all this was chosen, for the record.
    """

    narrator: Narrator
    groups: Groups
    cells: dict[str, np.ndarray]
    evidence: dict[str, str]
    n_genes: int
    params: dict[str, Any]

    def write(self, conversation: Callable[[str, str], Conversation], *, max_tokens: int) -> Shown:
        """Write what the model is asked about cells (as text), and evidence, with as many genes as fit."""
        narrator, groups = self.narrator, self.groups
        vocabulary = groups.genes if narrator.genes is None else np.array(narrator.genes, dtype=object)

        def conversations(n: int) -> list[Conversation]:
            texts = {
                name: groups.text(some, n_genes=n, family=narrator.family, vocabulary=vocabulary)
                for name, some in self.cells.items()
            }
            return [conversation(text, self.evidence[name]) for name, text in texts.items()]

        def prompts(n: int) -> list[str]:
            return [narrator.engine.written(one) for one in conversations(n)]

        n_cells = max(map(len, self.cells.values()))
        fitting = fit_genes(prompts, narrator.engine, most=self.n_genes, max_tokens=max_tokens, n_cells=n_cells)
        if fitting < self.n_genes:
            logg.info(f"    showing {fitting} genes a cell: {self.n_genes} do not fit into the model's context")
        return Shown(self, conversations(fitting), fitting)


@dataclass(frozen=True)
class Shown:
    """What a model is asked.

    Attributes
    ----------
    scene
        The groups.
    conversations
        One for each group.
    n_genes
        Most genes of each cell that are in it.
    """

    scene: Scene
    conversations: list[Conversation]
    n_genes: int


def set_scene(
    cells: Cells,
    narrator: Narrator,
    *,
    groupby: str | Sequence[str] | None,
    groups: Iterable[str] | None,
    label_key: str | None,
    sample_key: str | None,
    subgroup_key: str | None,
    context: Sequence[str],
    evidence: bool | None,
    n_cells: int | None,
    n_genes: int | None,
    organism: str | None,
    seed: int,
) -> Scene:
    """Read the groups of some cells, and draw cells of each.

    Parameters
    ----------
    cells
        The cells.
    narrator
        What will be asked.
    groupby, groups, label_key, sample_key, subgroup_key, context, evidence, n_cells, n_genes, organism
        As of :func:`~sc_c2s.tl.summarize`.
    seed
        Draws the cells, of each group by itself.
    """
    evidence = narrator.asked("evidence", evidence, False)
    n_cells, n_genes = narrator.asked("n_cells", n_cells, N_CELLS), narrator.asked("n_genes", n_genes, N_GENES)
    if n_cells < 1 or n_genes < 1:
        raise ValueError(f"n_cells={n_cells} and n_genes={n_genes} have to be 1 or more.")
    label_key = label_column(cells, label_key)
    organism = guess_organism(cells.genes) if organism is None else organism
    found = read_groups(
        cells,
        groupby=groupby,
        groups=groups,
        label_key=label_key,
        sample_key=sample_key,
        subgroup_key=subgroup_key,
        context=columns(context),
        organism=organism,
    )
    params = {
        **narrator.source,
        **cells.params,
        "groupby": plain(columns(groupby)),
        "label_key": label_key,
        "sample_key": sample_key,
        "subgroup_key": subgroup_key,
        "context": plain(columns(context)),
        "evidence": evidence,
        "n_cells": n_cells,
        "n_genes": n_genes,
        "organism": organism,
        "family": narrator.family,
        "seed": seed,
    }
    return Scene(
        narrator,
        found,
        cells={name: found.draw(name, n_cells, named_rng(seed, name)) for name in found.names},
        evidence={name: found.evidence(name) if evidence else "" for name in found.names},
        n_genes=n_genes,
        params=params,
    )


def say(shown: Shown, *, max_tokens: int, temperature: float, batch_size: int | None) -> dict[str, str]:
    """Have the model answer: a text for each group."""
    scene = shown.scene
    names, seed = scene.groups.names, scene.params["seed"]
    said = scene.narrator.engine.chat(
        shown.conversations,
        max_tokens=max_tokens,
        sampling=Sampling(temperature=temperature),
        seeds=np.array([named_rng(seed + 1, name).integers(2**63) for name in names], dtype=np.uint64),
        batch_size=batch_size,
    )
    family = get_family(scene.narrator.family)
    # No file takes the character that ends a string elsewhere.
    return {name: family.prose(text.replace("\0", "")) for name, text in zip(names, said, strict=True)}


def open_narrator(
    model: str | Path | LoadedModel | Speaker, task: str, *, device: str, dtype: str, engine: str = "local"
) -> Narrator:
    """Open a model with what its directory says about groups of cells."""
    opened, source, card = open_model(model, task, device=device, dtype=dtype, engine=engine)
    if card is None:
        return Narrator(opened, source)
    return Narrator(opened, source, family=card.family, genes=card.genes, usual=card.language)


def grounded_texts(
    texts: Mapping[str, str],
    shown: Shown,
    *,
    names: Mapping[str, Sequence[str]] | None = None,
    ontology: CellOntology | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hold texts against the data.

    Parameters
    ----------
    texts
        A text for each group.
    shown
        What the model was shown.
    names, ontology
        As of :func:`~sc_c2s.tl.summarize`.

    Returns
    -------
    A row for each group: the text, what was shown, and the share of its claims that are confirmed, contradicted or cannot be
    checked. A row for each claim.
    """
    rows, claims = {}, []
    for name, text in texts.items():
        found = grounding(text, shown.scene.groups.facts[name], names=names, ontology=ontology)
        claims.append(found.assign(group=name))
        rows[name] = {
            "text": text,
            "n_cells": len(shown.scene.cells[name]),
            "n_genes": shown.n_genes,
            "n_members": len(shown.scene.groups.members[name]),
            **grounding_shares(found),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table, pd.concat(claims, ignore_index=True)[["group", *COLUMNS]]
