"""A conversation about one group of cells, turn by turn: ``c2s chat``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sc_c2s.data import open_cells
from sc_c2s.engine import Conversation
from sc_c2s.prompts import ask_conversation

from ._ask import MAX_TOKENS
from ._narrator import Scene, Shown, grounded_texts, open_narrator, say, set_scene

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from sc_c2s.engine import Speaker
    from sc_c2s.models import LoadedModel

LONGEST = 16
"""Turns that a model is shown again; those before them are forgotten."""


@dataclass
class Chat:
    """A conversation about the one group of a scene, which stays in view.

    Attributes
    ----------
    scene
        The group, and its cells.
    names
        Further names of cell types.
    max_tokens, temperature
        As of :func:`~sc_c2s.tl.ask`.
    history
        Questions and answers so far.
    """

    scene: Scene
    names: Mapping[str, Sequence[str]] | None = None
    max_tokens: int = MAX_TOKENS
    temperature: float = 0.0
    history: list[tuple[str, str]] = field(default_factory=list)

    @property
    def introduction(self) -> str:
        """What is talked about."""
        [name] = self.scene.groups.names
        n, shown = len(self.scene.groups.members[name]), len(self.scene.cells[name])
        return f"{name}: {n} cells, of which {shown} are shown. Ask about them; an empty line ends."

    def ask(self, question: str) -> tuple[str, pd.DataFrame]:
        """Ask a question: the answer, and its claims held against the data."""
        shown = self._shown(question)
        said = say(shown, max_tokens=self.max_tokens, temperature=self.temperature, batch_size=None)
        [answer] = said.values()
        _, claims = grounded_texts(said, shown, names=self.names)
        self.history.append((question, answer))
        return answer, claims

    def _shown(self, question: str) -> Shown:
        """Write the question behind those before it, as many of the last as fit."""
        before = self.history[-LONGEST:]

        def conversation(text: str, known: str) -> Conversation:
            return ask_conversation(text, question, evidence=known, history=before)

        while True:
            try:
                return self.scene.write(conversation, max_tokens=self.max_tokens)
            except ValueError:  # it does not fit: the oldest turn is forgotten
                if not before:
                    raise
                before = before[1:]


def open_chat(
    data: AnnData | MuData,
    *,
    model: str | Path | LoadedModel | Speaker,
    groupby: str | Sequence[str] | None,
    group: str | None,
    engine: str = "local",
    names: Mapping[str, Sequence[str]] | None = None,
    max_tokens: int = MAX_TOKENS,
    temperature: float = 0.0,
    layer: str | None,
    use_raw: bool,
    gene_symbols: str | None,
    mod: str | None,
    device: str,
    rng: int,
    **shown: Any,
) -> Chat:
    """Begin a conversation; arguments are those of :func:`~sc_c2s.tl.ask`."""
    if groupby and group is None:
        raise ValueError(
            "A conversation is about one group: name it with --group, or leave out --groupby for all cells."
        )
    cells = open_cells(data, mod=mod, layer=layer, use_raw=use_raw, gene_symbols=gene_symbols, writable=False)
    narrator = open_narrator(model, "ask", device=device, dtype="auto", engine=engine)
    scene = set_scene(
        cells,
        narrator,
        groupby=groupby,
        groups=None if group is None else [group],
        subgroup_key=None,
        organism=None,
        seed=rng,
        **shown,
    )
    return Chat(scene, names=names, max_tokens=max_tokens, temperature=temperature)
