"""Where the answers of a small model start: a linear read-out of the cells it is going to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sc_c2s.engine.local import LocalEngine

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


STRENGTH = 0.1
"""Inverse of the penalty, for states that were scaled to a mean deviation of one."""
MOST_CELLS = 12_000
"""Cells a probe is fitted to, at most."""


def probe_cells(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Choose the cells a probe is fitted to: all, or as many as there is time for, each answer among them.

    Parameters
    ----------
    codes
        Number of each cell's answer.
    """
    cells = rng.permutation(len(codes))
    first = np.unique(codes[cells], return_index=True)[1]
    cells = np.concatenate([cells[first], np.delete(cells, first)])
    return np.sort(cells[: max(MOST_CELLS, len(first))])


def fit_probe(states: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Fit one vector for each answer, whose product with a state tells how likely the answer is.

    Multinomial logistic regression without an intercept. States are scaled by one number, so that the penalty means
    the same whatever their size; their directions keep their unequal weight, which is what holds weak ones back.

    Parameters
    ----------
    states
        Hidden states (cells × width).
    codes
        Number of each cell's answer, from 0; every answer occurs.

    Returns
    -------
    Array (answers × width).
    """
    from sklearn.linear_model import LogisticRegression

    scale = float(states.std(axis=0).mean()) or 1.0
    fitted = LogisticRegression(C=STRENGTH, fit_intercept=False, max_iter=1000).fit(states / scale, codes)
    weights = fitted.coef_ / scale
    # Two answers have one vector between them.
    return np.concatenate([-weights, weights]) / 2 if len(weights) == 1 else weights


def place_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    codes: np.ndarray,
    answers: Sequence[str],
) -> None:
    """Start the vectors that one-token answers are told by at a linear probe, in place.

    Fine-tuning from a random head first spoils what the vectors of the genes already say (Kumar et al. 2022,
    *Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution*, ICLR); from a fitted one it
    starts as a linear model and goes on from there.

    Parameters
    ----------
    model, tokenizer
        Model and its tokenizer.
    prompts
        Prompts of the training cells.
    codes
        Number of the answer to each of them.
    answers
        Texts, one token each, none of which stands in a prompt.
    """
    import torch

    ids = [token for answer in answers for token in tokenizer(answer.strip())["input_ids"]]
    table = model.get_output_embeddings().weight
    weights = fit_probe(LocalEngine(model, tokenizer, quiet=True).embed(prompts), codes)
    with torch.no_grad():
        table[ids] = torch.from_numpy(weights).to(table)
