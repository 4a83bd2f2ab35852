"""The model directory: an ordinary transformers directory plus one file with everything its answers depend on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

FORMAT_VERSION = 1
CARD = "c2s.json"
HISTORY = "history.csv"
ARRAYS = {"levels": "levels.safetensors", "shifts": "shifts.safetensors"}
"""Files of the fields that are arrays."""
_MODEL = ("config.json", "adapter_config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json")


@dataclass(frozen=True)
class ModelCard:
    """What a fine-tuned model has to know about itself to be used on other cells.

    Attributes
    ----------
    task
        Tasks it was trained for.
    groupby
        Column of `obs` its labels came from.
    genes
        Gene vocabulary: only these genes are written into its sentences.
    recipe
        How its sentences are made: ``n_genes``, ``ties``, ``organism``, ``normalisation``.
    family
        Prompt family.
    labels
        Closed set of labels, in order; empty if it does not annotate.
    conditions
        What it can be asked to write: ``groupby`` (names of the groupings), and for each combination its ``values`` and the
        number of training cells with it (``n_cells``). Empty if it does not generate.
    levels
        Values of some training cells of each condition, without their genes, in a file of their own.
        Empty if it does not generate.
    perturbations
        What it can be asked to do to cells: ``condition_key``, ``control``, ``groupby`` of the ``contexts``, the perturbations
        (``values``), how many cells were perturbed (``n_cells``, contexts × perturbations), the ``pairing``, the ``scale`` of
        changes, and the weights of the best ``blend`` of methods without a model. Empty if it does not perturb.
    shifts
        Means of the control cells of each context (``control_means``, contexts × genes), what each perturbation added to them
        (``shifts``, contexts × perturbations × genes), and control cells in principal components (``points`` with their
        ``point_contexts``; ``centre`` and ``components``), in a file of their own. Empty if it does not perturb.
    language
        How it talks about groups of cells: ``n_cells``, ``n_genes``, ``style``, ``evidence``, and the columns it was trained with.
        Empty if it does not.
    temperature
        Divides the log-probabilities of the labels, chosen on validation cells.
    sampling_temperature
        Divides the log-probabilities of the genes as they are drawn: what makes cells as diverse as the training cells.
    n_views
        Number of tie orders whose probabilities are averaged.
    rank_fit
        The rank → expression fit of the training cells.
    base
        What training started from: ``"nano"``, or the source and revision of a pretrained model.
    metrics
        Scores on the validation cells and, where there are some, on the test cells.
    data
        Number of cells in each set, how they were split, and a fingerprint of what was read.
    seed
        Seed of the split, the augmentation and the training.
    versions
        Versions of the packages that made it.
    """

    task: list[str]
    groupby: str
    genes: list[str]
    recipe: dict[str, Any]
    family: str
    labels: list[str] = field(default_factory=list)
    conditions: dict[str, Any] = field(default_factory=dict)
    levels: dict[str, np.ndarray] = field(default_factory=dict)
    perturbations: dict[str, Any] = field(default_factory=dict)
    shifts: dict[str, np.ndarray] = field(default_factory=dict)
    language: dict[str, Any] = field(default_factory=dict)
    temperature: float = 1.0
    sampling_temperature: float = 1.0
    n_views: int = 1
    rank_fit: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


def is_model_directory(path: str | Path) -> bool:
    """Whether a directory was written by ``tl.finetune``."""
    return (Path(path) / CARD).is_file()


def holds_foreign_model(path: str | Path) -> bool:
    """Whether a directory holds a model that ``tl.finetune`` did not write, such as the base of an adapter."""
    found = any(file for pattern in _MODEL for file in Path(path).glob(pattern))
    return found and not is_model_directory(path)


def clear(path: str | Path) -> None:
    """Remove an earlier model, its card first: no part of it may be taken for a part of the next one."""
    (Path(path) / CARD).unlink(missing_ok=True)
    for pattern in _MODEL:
        for file in Path(path).glob(pattern):
            file.unlink()


def write(path: str | Path, card: ModelCard, *, history: pd.DataFrame | None = None) -> None:
    """Write the card, a page for readers and the training history beside the weights."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    for name, file in ARRAYS.items():
        if arrays := getattr(card, name):
            save_file({one: np.ascontiguousarray(x) for one, x in arrays.items()}, path / file)
    if history is not None:
        history.to_csv(path / HISTORY, index=False)
    (path / "README.md").write_text(_page(card), encoding="utf-8")
    # The card comes last and in one move: a directory that has it is whole.
    unfinished = path / f"{CARD}.part"
    fields_of_card = {name: value for name, value in asdict(card).items() if name not in ARRAYS}
    unfinished.write_text(json.dumps(fields_of_card, indent=1, default=_plain), encoding="utf-8")
    unfinished.replace(path / CARD)


def read(path: str | Path) -> ModelCard:
    """Read the card of a model directory.

    Raises
    ------
    FileNotFoundError
        If the directory was not written by ``tl.finetune``.
    ValueError
        If a newer version of this package wrote it.
    """
    file = Path(path) / CARD
    if not file.is_file():
        raise FileNotFoundError(f"{str(path)!r} holds no {CARD}: give a directory that tl.finetune wrote.")
    stored = json.loads(file.read_text(encoding="utf-8"))
    if stored.get("format_version", 0) > FORMAT_VERSION:
        raise ValueError(
            f"{str(path)!r} has format version {stored['format_version']}, this sc_c2s reads up to {FORMAT_VERSION}: "
            "update sc-c2s."
        )
    known = {f.name for f in fields(ModelCard)}
    files = {name: Path(path) / file for name, file in ARRAYS.items()}
    arrays: dict[str, Any] = {name: load_file(file) for name, file in files.items() if file.is_file()}
    return ModelCard(**{name: value for name, value in stored.items() if name in known}, **arrays)


def read_history(path: str | Path) -> pd.DataFrame:
    """Read the training history of a model directory."""
    return pd.read_csv(Path(path) / HISTORY)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} does not go into {CARD}.")


def _page(card: ModelCard) -> str:
    """Write the model card a person reads."""
    shown = [name for name in _SCORES if any(name in values for values in card.metrics.values())]
    scores = "\n".join(
        f"| {split} | " + " | ".join(f"{values[name]:.3f}" if name in values else "" for name in shown) + " |"
        for split, values in card.metrics.items()
    )
    facts = {
        "Task": f"{', '.join(card.task)} `{card.groupby}`",
        "Started from": ", ".join(f"{name} {value}" for name, value in card.base.items() if value is not None),
        "Labels": ", ".join(card.labels),
        "Conditions": "; ".join(", ".join(value) for value in card.conditions.get("values", [])),
        "Perturbations": ", ".join(card.perturbations.get("values", [])),
        "Genes in its vocabulary": f"{len(card.genes):,}",
        "Sentence": ", ".join(f"{name} = {value}" for name, value in card.recipe.items()),
        "Temperature": f"{card.temperature:.3f}" if card.labels else "",
        "Sampling temperature": f"{card.sampling_temperature:.3f}" if card.conditions else "",
        "Cells": ", ".join(f"{name} {value}" for name, value in card.data.items()),
        "Seed": str(card.seed),
        "Versions": ", ".join(f"{name} {value}" for name, value in card.versions.items()),
    }
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "tags: [single-cell, cell2sentence, sc_c2s]",
            "---",
            "",
            f"# Cell sentences: {card.groupby}",
            "",
            "Fine-tuned with `sc_c2s.tl.finetune`; use it with "
            + " and ".join(f"`sc_c2s.tl.{task}(adata, model=<this directory>)`" for task in card.task)
            + ".",
            "",
            *(f"- **{name}**: {value}" for name, value in facts.items() if value),
            "",
            "| cells | " + " | ".join(shown) + " |",
            "|---" * (len(shown) + 1) + "|",
            scores,
            "",
            *(line for task in card.task for line in (*_LIMITS[task], "")),
        ]
    )


_SCORES = (
    "accuracy",
    "macro_f1",
    "balanced_accuracy",
    "ece",
    "nats_per_gene",
    "pearson_delta",
    "confirmed",
    "composition_error",
)
_LIMITS = {
    "annotate": (
        "It answers with one of its own labels for any cell it is shown, cell types it never saw included: look at",
        "the confidences (`unknown_below=`) before believing labels on other tissues, organisms or assays.",
    ),
    "generate": (
        "It writes cells like those it was trained on, and knows no other condition and no other gene. Generated cells show",
        "what the model has learned; they are no measurements, and no number of them makes a difference more significant.",
    ),
    "perturb": (
        "It says what a perturbation does on average to cells like the one it reads, from the perturbations it was trained on;",
        "how far cells are from those is told with every prediction. Set it beside the shifts of the training cells that the",
        "result carries before believing that it adds to them.",
    ),
    "summarize": (
        "It describes any group of cells fluently, whether what it says is so or not: every summary comes with its claims, each held",
        "against the data of the group, and what is no claim is not checked.",
    ),
    "ask": (
        "It answers any question, whether the cells can answer it or not. The accuracy above is that of the kinds of questions it was",
        "trained on, about groups it had not seen; of others nothing is known.",
    ),
}
