"""A model as it was given, opened, and what its directory says about the task it is wanted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sc_c2s.engine import Engine, LocalEngine, Speaker, Writer
from sc_c2s.models import LoadedModel, directory, load

TASKS: dict[str, tuple[type, str]] = {
    "annotate": (Engine, "annotate"),
    "generate": (Writer, "write cells"),
    "perturb": (Engine, "perturb cells"),
    "summarize": (Speaker, "describe groups of cells"),
    "ask": (Speaker, "answer questions about groups of cells"),
}
"""What an engine has to be able to do for a task, and the task in words."""


def open_model(
    model: str | Path | LoadedModel | Engine | Writer, task: str, *, device: str, dtype: str
) -> tuple[Any, dict[str, Any], directory.ModelCard | None]:
    """Open a model for a task.

    Returns
    -------
    The engine; where it came from, for the record; and its card, if it was trained by :func:`~sc_c2s.tl.finetune`.
    """
    able, words = TASKS[task]
    if isinstance(model, str | Path):
        model = load(model, device=device, dtype=dtype)
    if not isinstance(model, LoadedModel):
        if not isinstance(model, able):
            raise TypeError(
                f"model= has to be a path, a hub id, what models.load returned or an engine, not {type(model).__name__}."
            )
        return model, {"model": type(model).__name__}, None
    source = {"model": model.source, "revision": model.revision, "dtype": model.dtype, "device": model.device}
    engine = LocalEngine(model.model, model.tokenizer)
    if not directory.is_model_directory(model.path):
        return engine, source, None
    card = directory.read(model.path)
    if task not in card.task:
        raise ValueError(
            f"{model.source!r} was trained to {' and '.join(card.task)}, not to {words}: train one with "
            f"tl.finetune(task={task!r})."
        )
    return engine, source, card
