"""Where the vectors that genes are written with start: a linear read-out of a model that has seen the words before them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .loss import IGNORED, places

N_STEPS, SIZE, RATE, PULL = 300, 2048, 2e-2, 1e-4
"""Steps of the fit, places in each, how far they go, and how strongly the fit is held to where it began."""
MOST = 100_000_000
"""Numbers that the fit may hold for what is written already (places × genes)."""


def fit_head(
    model: Any,
    batches: list[dict[str, Any]],
    kinds: np.ndarray,
    ids: torch.Tensor,
    log_means: np.ndarray,
    *,
    seed: int = 0,
) -> None:
    """Fit the output vectors of some tokens to the states of a model that does not change, in place.

    They begin as the shortest vectors whose products with the mean state of each kind of rows are the logarithms of the mean
    expression there: a model that draws genes by their abundance. From there multinomial logistic regression over the tokens
    that are not written yet, by Adam on places drawn at random, learns what the genes before say. Like the probe of the
    answers (:func:`~sc_c2s.training.probe.place_answers`) it lets training start as a linear model.

    Parameters
    ----------
    model
        A nano that writes.
    batches
        Rows as the trainer reads them.
    kinds
        Kind of each row, from 0.
    ids
        Token ids.
    log_means
        Logarithm of the mean expression (kinds × tokens).
    seed
        Draws the places.
    """
    rng = np.random.default_rng(seed)
    head = model.get_output_embeddings().weight
    device = head.device
    tokens, order = ids.to(device).sort()
    n_rows = sum(len(batch["labels"]) for batch in batches)
    n_places = min(SIZE * 40, MOST // len(tokens)) // max(n_rows, 1) + 1
    states, taken, targets, of_row = [], [], [], []
    first = 0
    with torch.no_grad():
        for batch in batches:
            batch = {name: x.to(device) for name, x in batch.items()}
            labels = batch["labels"]
            read = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
            hidden = model.model(**read, use_cache=False).last_hidden_state
            place = places(labels, tokens)
            rows, columns = (labels != IGNORED).nonzero(as_tuple=True)
            drawn = torch.from_numpy(rng.permutation(len(rows))[: n_places * len(labels)]).to(device)
            rows, columns = rows[drawn], columns[drawn]
            states.append(hidden[rows, columns - 1])
            taken.append(place[rows] < columns[:, None])
            targets.append(torch.searchsorted(tokens, labels[rows, columns]))
            of_row.append(kinds[first + rows.cpu().numpy()])
            first += len(labels)
        state, mask, target = torch.cat(states), torch.cat(taken), torch.cat(targets)
        kind = np.concatenate(of_row)
        begin = torch.from_numpy(_shortest(state.cpu().numpy(), kind, log_means)).to(head)[order]
    weights = begin.clone().requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=RATE)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=N_STEPS)
    for _ in range(N_STEPS):
        some = torch.from_numpy(rng.integers(len(target), size=SIZE)).to(device)
        logits = (state[some] @ weights.T).masked_fill(mask[some], -torch.inf)
        loss = torch.nn.functional.cross_entropy(logits, target[some]) + PULL * (weights - begin).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    with torch.no_grad():
        head[tokens] = weights


def _shortest(states: np.ndarray, kinds: np.ndarray, log_means: np.ndarray) -> np.ndarray:
    """Find the shortest vectors (tokens × width) whose products with the mean states of the kinds are the log means."""
    present = np.unique(kinds)
    means = np.stack([states[kinds == kind].mean(axis=0) for kind in present]).astype(np.float64)
    return np.linalg.lstsq(means, log_means[present], rcond=1e-6)[0].T
