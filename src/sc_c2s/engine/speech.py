"""Free text, written token by token, and the conversations that it is the answer to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Conversation
from .decoding import DROP, Reader
from .race import uniforms
from .sampling import Sampling

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


def as_text(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> str:
    """Write a conversation the way a model was trained to read it, up to where its answer begins.

    Without a template the turns follow each other as paragraphs.

    Parameters
    ----------
    conversation
        Turns, the last one a user's.
    tokenizer
        Tokenizer of the model, with the template if it has one.
    """
    turns = [dict(turn) for turn in conversation]
    if not turns or turns[-1].get("role") != "user":
        raise ValueError("A conversation has to end with a turn of the user: add one with the question.")
    if tokenizer.chat_template is None:
        return "".join(f"{turn['content'].strip()}\n\n" for turn in turns)
    return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


def speak(
    reader: Reader,
    last: np.ndarray,
    *,
    most: int,
    ends: set[int],
    sampling: Sampling,
    seeds: np.ndarray,
    device: Any = "cpu",
) -> list[list[int]]:
    """Write on after every prompt of a batch until an end token.

    Parameters
    ----------
    reader
        A model that has read all but the last token of each prompt.
    last
        Last token of each prompt.
    most
        Most tokens to write.
    ends
        Tokens that end an answer.
    sampling
        How a token is chosen.
    seeds
        Seed of each row, unsigned 64-bit.
    device
        Where the rows are kept.

    Returns
    -------
    Tokens of every answer, without the one that ended it.
    """
    import torch

    out: list[list[int]] = [[] for _ in last]
    names = np.arange(len(last))
    tokens = torch.from_numpy(np.asarray(last, dtype=np.int64)).to(device)
    done = np.zeros(len(last), dtype=bool)
    for step in range(most):
        logits = reader.read(tokens[:, None], torch.ones_like(tokens[:, None], dtype=torch.bool))
        tokens = _chosen(logits.float(), sampling, uniforms(seeds[names], np.full(len(names), step)))
        for place, (row, token) in enumerate(zip(names.tolist(), tokens.tolist(), strict=True)):
            done[place] |= token in ends
            if not done[place]:
                out[row].append(token)
        if done.all():
            break
        if done.sum() * DROP >= len(done):
            kept = np.flatnonzero(~done)
            rows = torch.from_numpy(kept).to(device)
            reader.keep(rows)
            names, done, tokens = names[kept], done[kept], tokens[rows]
    return out


def _chosen(logits: torch.Tensor, sampling: Sampling, drawn: np.ndarray) -> torch.Tensor:
    """Token of each row: the most probable one, or the one at the number that the row has drawn."""
    import torch

    if not sampling.temperature:
        return logits.argmax(dim=1)
    up_to = sampling.weights(logits.log_softmax(dim=1)).double().cumsum(dim=1)
    at = torch.from_numpy(drawn).to(up_to)[:, None] * up_to[:, -1:]
    return torch.searchsorted(up_to, at, right=True).clamp(max=logits.shape[1] - 1)[:, 0]
