"""What is learned from a row: its answer, as a choice among what may stand there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

IGNORED = -100
"""Label of tokens that are not learned."""


@dataclass(frozen=True)
class Choice:
    """What each token of an answer is chosen among.

    Attributes
    ----------
    tokens
        Token ids, in order.
    once
        Whether no token stands twice in an answer: those written already are no choice any more.
    most
        Most positions of a batch that are looked at; ``None`` for all. Those of a training step are drawn anew each time, those
        of an evaluation are evenly spaced.
    shares
        Whether an answer is the share of every token rather than one of them, see :func:`shares_loss`; ``tokens`` may then stand in
        any order.
    """

    tokens: torch.Tensor
    once: bool = False
    most: int | None = None
    shares: bool = False


def answer_loss(
    model: Any, inputs: dict[str, Any], choice: Choice | None = None
) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Cross-entropy of the answers of a batch, summed over their tokens.

    The head runs on answer positions only. Without Triton, TRL's fused head scores every position, the masked prompt
    included, which costs more than the rest of the model where the vocabulary is large. Rows are padded on the left, so answers
    end together.

    Parameters
    ----------
    model
        Causal language model.
    inputs
        ``input_ids``, ``attention_mask``, ``position_ids``, and ``labels``, which are :data:`IGNORED` outside the answers.
    choice
        What the model will ever choose among, so that it need not learn that no other token follows; ``None``: all tokens,
        with the end token.

    Returns
    -------
    The sum, the number of tokens it is over, and the output of the model.
    """
    labels = inputs["labels"]
    scored = (labels != IGNORED).any(dim=0)
    first, end = int(scored.to(torch.int8).argmax()), labels.shape[1]
    columns = torch.arange(first, end, device=labels.device)
    keep: int | torch.Tensor = end - first + 1
    most = None if choice is None or choice.most is None else max(choice.most // len(labels), 1)
    if most is not None and len(columns) > most:
        columns = _some(columns, most, drawn=model.training)
        keep = columns - 1
    read = {name: inputs[name] for name in ("input_ids", "attention_mask", "position_ids")}
    output = model(**read, logits_to_keep=keep, use_cache=False)
    logits = (output.logits if isinstance(keep, torch.Tensor) else output.logits[:, :-1]).float()
    targets = labels[:, columns]
    if choice is not None:
        closed = choice.tokens.to(logits.device)
        logits = logits[..., closed]
        if choice.once:
            logits = logits.masked_fill(places(labels, closed)[:, None, :] < columns[:, None], -torch.inf)
        targets = torch.where(targets == IGNORED, IGNORED, torch.searchsorted(closed, targets.contiguous()))
    total = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    n = (labels != IGNORED).sum()
    if isinstance(keep, torch.Tensor):
        total = total * n / (targets != IGNORED).sum().clamp(min=1)
    return total, n, output


def shares_loss(model: Any, inputs: dict[str, Any], choice: Choice) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Cross-entropy of the shares that tokens should have behind each prompt, summed over the rows.

    Parameters
    ----------
    model
        Causal language model.
    inputs
        ``input_ids``, ``attention_mask`` and ``position_ids`` of the prompts, and ``shares`` (rows × tokens of the choice).
    choice
        Which tokens these are.

    Returns
    -------
    The sum, the number of rows, and the output of the model.
    """
    read = {name: inputs[name] for name in ("input_ids", "attention_mask", "position_ids")}
    output = model(**read, logits_to_keep=1, use_cache=False)
    logs = torch.log_softmax(output.logits[:, -1, choice.tokens.to(output.logits.device)].float(), dim=1)
    shares = inputs["shares"].to(logs)
    return -(shares * logs).sum(), torch.tensor(len(shares), device=logs.device), output


def _some(columns: torch.Tensor, n: int, *, drawn: bool) -> torch.Tensor:
    if drawn:
        return columns[torch.randperm(len(columns))[:n].sort().values.to(columns.device)]
    return columns[torch.linspace(0, len(columns) - 1, n).long().to(columns.device)]


def places(labels: torch.Tensor, closed: torch.Tensor) -> torch.Tensor:
    """Column of every closed token in each row (rows × tokens), beyond the last one where it does not occur."""
    n_rows, width = labels.shape
    place = torch.full((n_rows, len(closed) + 1), width, device=labels.device)
    index = torch.where(labels == IGNORED, len(closed), torch.searchsorted(closed, labels.clamp(min=0)))
    place.scatter_(1, index, torch.arange(width, device=labels.device).expand(n_rows, -1))
    return place[:, :-1]
