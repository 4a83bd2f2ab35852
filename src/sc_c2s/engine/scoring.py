"""Closed answers as a tree of tokens, and what their scores say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class AnswerTree:
    """Answers that share their first tokens, so that every shared token is read once.

    A node is a token that a model has to read because something follows it. The token before the
    answers, the root, is the last one of the prompt. Row 0 of the predictions is the root's, row ``j + 1``
    that of node ``j``.
    """

    answers: tuple[tuple[int, ...], ...]
    """Token ids of each answer, with the end token where it is scored."""
    tokens: np.ndarray
    """Token id of every node (n_nodes)."""
    depths: np.ndarray
    """Distance of every node from the root (n_nodes)."""
    visible: np.ndarray
    """Whether a node (row) sees another one: itself and those on its way to the root (n_nodes × n_nodes)."""
    rows: np.ndarray
    """Row of the predictions that says each token of each answer (answers × longest); 0 beyond the end."""
    ids: np.ndarray
    """Token ids of the answers (answers × longest); 0 beyond the end."""
    used: np.ndarray
    """Which entries of ``rows`` and ``ids`` are tokens (answers × longest)."""

    @classmethod
    def build(cls, answers: Sequence[Sequence[int]], *, end: int | None = None) -> AnswerTree:
        """Merge answers into a tree.

        Where one answer begins with another, the shorter one would always be at least as probable; all of
        them are then scored up to and with the ``end`` token.
        """
        paths = [tuple(answer) for answer in answers]
        if any(not path for path in paths):
            raise ValueError("An answer without a single token cannot be scored; give every label a visible name.")
        inner = {path[:k] for path in paths for k in range(1, len(path))}
        if inner.intersection(paths):
            if end is None:
                raise ValueError(
                    "One answer begins with another and the tokenizer has no end token to tell them apart; "
                    "rename one of the two or set `tokenizer.eos_token`."
                )
            paths = [(*path, end) for path in paths]

        nodes: dict[tuple[int, ...], int] = {}
        for path in paths:
            for k in range(1, len(path)):
                nodes.setdefault(path[:k], len(nodes))
        visible = np.zeros((len(nodes), len(nodes)), dtype=bool)
        for node, j in nodes.items():
            visible[j, [nodes[node[:k]] for k in range(1, len(node) + 1)]] = True

        shape = len(paths), max(map(len, paths))
        rows, ids, used = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)
        for i, path in enumerate(paths):
            rows[i, 1 : len(path)] = [1 + nodes[path[:k]] for k in range(1, len(path))]
            ids[i, : len(path)] = path
            used[i, : len(path)] = True
        return cls(
            answers=tuple(paths),
            tokens=np.array([node[-1] for node in nodes], dtype=np.int64),
            depths=np.array([len(node) for node in nodes], dtype=np.int64),
            visible=visible,
            rows=rows,
            ids=ids,
            used=used,
        )

    @property
    def n_nodes(self) -> int:
        """Number of tokens to read behind the prompt."""
        return len(self.tokens)

    @property
    def depth(self) -> int:
        """Tokens of the longest way from the root."""
        return int(self.depths.max(initial=0))


def probabilities(scores: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
    """Probabilities of closed answers that sum to one for each prompt.

    Parameters
    ----------
    scores
        Log-probabilities (prompts × answers), or those of several views of the same cells
        (views × prompts × answers): each view is normalised and the views are averaged as logarithms,
        so that one temperature serves the average.
    temperature
        Divides the log-probabilities; above one it makes the model less certain of itself.

    Returns
    -------
    Array (prompts × answers).
    """
    if not temperature > 0:
        raise ValueError(f"The temperature has to be above zero, not {temperature}.")
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim == 3:
        scores = _log_softmax(scores).mean(axis=0)
    return np.exp(_log_softmax(scores / temperature))


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
