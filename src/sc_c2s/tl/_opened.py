"""A model as it was given, opened, and what its directory says about the task it is wanted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sc_c2s.engine import Engine, LocalEngine, ServerEngine, Speaker, Writer
from sc_c2s.models import LoadedModel, directory, load

TASKS: dict[str, tuple[type, str]] = {
    "annotate": (Engine, "annotate"),
    "generate": (Writer, "write cells"),
    "perturb": (Engine, "perturb cells"),
    "summarize": (Speaker, "describe groups of cells"),
    "ask": (Speaker, "answer questions about groups of cells"),
}
"""What an engine has to be able to do for a task, and the task in words."""
ENGINES = ("local", "server")
"""Where a model that is given by its name can run."""


def open_model(
    model: str | Path | LoadedModel | Engine | Writer, task: str, *, device: str, dtype: str, engine: str = "local"
) -> tuple[Any, dict[str, Any], directory.ModelCard | None]:
    """Open a model for a task.

    Parameters
    ----------
    model
        The model, as it was given.
    task
        What it is wanted for, a key of :data:`TASKS`.
    device, dtype
        Where weights are put, and in which number format.
    engine
        Where a model that is given by its name runs: ``"local"`` or ``"server"``.

    Returns
    -------
    The engine; where it came from, for the record; and its card, if it was trained by :func:`~sc_c2s.tl.finetune`.
    """
    able, words = TASKS[task]
    if engine not in ENGINES:
        raise ValueError(f"engine={engine!r} has to be one of {', '.join(map(repr, ENGINES))}.")
    if engine == "server" and not isinstance(model, ServerEngine):
        if not isinstance(model, str):
            raise TypeError(
                'engine="server" takes the name of a model on the server, or a ServerEngine, as model=, not '
                f"{type(model).__name__}."
            )
        model = ServerEngine(model)
    if isinstance(model, str | Path):
        model = load(model, device=device, dtype=dtype)
    if not isinstance(model, LoadedModel):
        if isinstance(model, ServerEngine) and not isinstance(model, able):
            raise TypeError(
                f"A served model cannot {words}, which needs its weights: give a path or a hub id as model=."
            )
        if not isinstance(model, able):
            raise TypeError(
                f"model= has to be a path, a hub id, what models.load returned or an engine, not {type(model).__name__}."
            )
        return model, getattr(model, "source", {"model": type(model).__name__}), None
    source = {"model": model.source, "revision": model.revision, "dtype": model.dtype, "device": model.device}
    opened = LocalEngine(model.model, model.tokenizer)
    if not directory.is_model_directory(model.path):
        return opened, source, None
    card = directory.read(model.path)
    if task not in card.task:
        raise ValueError(
            f"{model.source!r} was trained to {' and '.join(card.task)}, not to {words}: train one with "
            f"tl.finetune(task={task!r})."
        )
    return opened, source, card
