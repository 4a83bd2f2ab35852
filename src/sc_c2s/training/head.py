"""The vectors that genes are written with, as a linear read-out of a model that has seen the words before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .loss import IGNORED, places

N_STEPS, SIZE = 250, 4096
"""Steps of the fit, and places in each."""
MOST = 500_000
"""Places that the fit looks at."""


@dataclass(frozen=True)
class Descent:
    """How the fit goes.

    Attributes
    ----------
    rate
        How far a step goes.
    pull
        How strongly the vectors are held to where they began.
    floor
        Directions in which states vary less than by this share of the largest are not stretched any further; 1 stretches none.
    """

    rate: float
    pull: float
    floor: float


START = Descent(rate=2e-2, pull=1e-4, floor=1.0)
"""A rough fit along the few directions that states vary most in: the rest of the model is going to change."""
END = Descent(rate=1e-2, pull=1e-5, floor=1e-3)
"""As good as it gets."""


@dataclass(frozen=True)
class Seen:
    """Places where a gene was written.

    Attributes
    ----------
    state
        What the model says there (places × width).
    row, column
        Where that is.
    target
        Number of the token that was written.
    written
        Column of every token in each row (rows × tokens).
    """

    state: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    target: torch.Tensor
    written: torch.Tensor


def fit_head(
    model: Any,
    batches: list[dict[str, Any]],
    ids: torch.Tensor,
    *,
    kinds: np.ndarray | None = None,
    log_means: np.ndarray | None = None,
    seed: int = 0,
) -> None:
    """Fit the output vectors of some tokens to the states of a model that does not change, in place.

    Multinomial logistic regression over the tokens that are not written yet, by Adam on places drawn at random.

    With ``log_means`` the vectors begin as the shortest ones whose products with the mean state of each kind of rows are the
    logarithms of the mean expression there: a model that draws genes by their abundance. Like the probe of the answers
    (:func:`~sc_c2s.training.probe.place_answers`) a rough fit from there lets training start as a linear model.

    Without, they begin where they are, and end at the optimum, where the model expects every gene as often as the cells show it;
    gradient descent on the whole model comes near that last for the many rare ones. States vary along a few directions a
    thousand times as much as along others, so steps are taken in coordinates in which they vary alike.

    Parameters
    ----------
    model
        A nano that writes.
    batches
        Rows as the trainer reads them.
    ids
        Token ids.
    kinds
        Kind of each row, from 0.
    log_means
        Logarithm of the mean expression (kinds × tokens).
    seed
        Draws the places.
    """
    rng = np.random.default_rng(seed)
    head = model.get_output_embeddings().weight
    tokens, order = ids.to(head.device).sort()
    with torch.no_grad():
        seen = _look(model, batches, tokens, rng)
        if log_means is None or kinds is None:
            begin, how = head[tokens], END
        else:
            shortest = _shortest(seen.state.cpu().numpy(), kinds[seen.row.cpu().numpy()], log_means)
            begin, how = torch.from_numpy(shortest).to(head)[order], START
        head[tokens] = _fit(seen, begin, how, rng)


def _look(model: Any, batches: list[dict[str, Any]], tokens: torch.Tensor, rng: np.random.Generator) -> Seen:
    n_rows = sum(len(batch["labels"]) for batch in batches)
    n_places = MOST // max(n_rows, 1) + 1
    parts = []
    first = 0
    for batch in batches:
        batch = {name: x.to(tokens.device) for name, x in batch.items()}
        labels = batch["labels"]
        read = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
        hidden = model.model(**read, use_cache=False).last_hidden_state
        row, column = (labels != IGNORED).nonzero(as_tuple=True)
        drawn = torch.from_numpy(rng.permutation(len(row))[: n_places * len(labels)]).to(tokens.device)
        row, column = row[drawn], column[drawn]
        target = torch.searchsorted(tokens, labels[row, column])
        parts.append((hidden[row, column - 1], row + first, column, target, places(labels, tokens)))
        first += len(labels)
    return Seen(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _fit(seen: Seen, begin: torch.Tensor, how: Descent, rng: np.random.Generator) -> torch.Tensor:
    """Descend from some vectors (tokens × width); gives where that leads."""
    stretch, back, spread = _stretched(seen.state, how.floor)
    state, start = seen.state @ stretch, begin @ back
    weights = start.clone()
    optimizer = torch.optim.Adam([weights], lr=how.rate)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=N_STEPS)
    for _ in range(N_STEPS):
        some = torch.from_numpy(rng.integers(len(state), size=SIZE)).to(state.device)
        logits = state[some] @ weights.T
        logits.masked_fill_(seen.written[seen.row[some]] < seen.column[some, None], -torch.inf)
        # The gradient of the cross-entropy is what is expected less what is there.
        excess = torch.softmax(logits, dim=1)
        excess[torch.arange(SIZE, device=state.device), seen.target[some]] -= 1
        weights.grad = excess.T @ state[some] / SIZE + 2 * how.pull * (weights - start) / spread
        optimizer.step()
        falling.step()
    return weights @ stretch.T


def _stretched(states: torch.Tensor, floor: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find coordinates in which states vary alike: a matrix for states, one for vectors, and how far each axis was stretched."""
    width = states.shape[1]
    if floor >= 1:
        same = torch.eye(width).to(states)
        return same, same, torch.ones(width).to(states)
    spread, axes = torch.linalg.eigh((states.T @ states).double() / len(states))
    spread = spread.clamp(min=floor * float(spread[-1]))
    return (axes / spread.sqrt()).to(states), (axes * spread.sqrt()).to(states), spread.to(states)


def _shortest(states: np.ndarray, kinds: np.ndarray, log_means: np.ndarray) -> np.ndarray:
    """Find the shortest vectors (tokens × width) whose products with the mean states of the kinds are the log means."""
    present = np.unique(kinds)
    means = np.stack([states[kinds == kind].mean(axis=0) for kind in present]).astype(np.float64)
    return np.linalg.lstsq(means, log_means[present], rcond=1e-6)[0].T
