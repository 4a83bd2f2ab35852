"""Lists that were written, read again to find among which tokens each of theirs was chosen.

A model that is trained on what it wrote under a closed vocabulary has to be asked under the same vocabulary how probable that
was. Otherwise the loss also moves tokens that could never be written, and the two distributions drift apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .decoding import Rows
from .items import ItemTree

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Chosen:
    """What the tokens of some lists were chosen among.

    Attributes
    ----------
    tokens
        Every token that may occur in a list, in order.
    allowed
        Which of them could stand at each place of each list (lists × places × tokens); all where a list is over.
    index
        Which of them stands there (lists × places); 0 where a list is over.
    """

    tokens: torch.Tensor
    allowed: torch.Tensor
    index: torch.Tensor

    def log_probs(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of each token, and the entropy of each choice, in nats.

        Parameters
        ----------
        logits
            Those of :attr:`tokens` at each place (lists × places × tokens).
        """
        import torch

        logs = logits.float().masked_fill(~self.allowed, -torch.inf).log_softmax(dim=-1)
        # No probability, no part in the entropy: 0 · -inf would be NaN, also in its gradient.
        entropy = -(logs.exp() * logs.masked_fill(~self.allowed, 0.0)).sum(dim=-1)
        return logs.gather(-1, self.index[..., None])[..., 0], entropy


def replay(
    tree: ItemTree,
    lists: Sequence[Sequence[int]],
    *,
    ends: bool,
    device: Any = "cpu",
) -> Chosen:
    """Find what the tokens of lists were chosen among.

    The sum of their log-probabilities is that of :class:`~sc_c2s.engine.decoding.Completion`, but for lists that were cut behind
    a name that could go on as another one's: that it did not is no token of theirs.

    Parameters
    ----------
    tree
        The vocabulary that they were written from.
    lists
        Tokens of each list, with the end token where the model ended it.
    ends
        Whether the model could end a list that has an item; otherwise it goes on as long as it is asked to.
    device
        Where to work.

    Raises
    ------
    ValueError
        If a token stands where it could not be written.
    """
    import torch

    n_places = max(map(len, lists), default=0)
    known = torch.tensor(sorted({*tree.tokens[1 : tree.nowhere].tolist(), tree.end}), device=device)
    ids = torch.full((len(lists), max(n_places, 1)), tree.end, device=device)
    for row, tokens in zip(ids, lists, strict=True):
        row[: len(tokens)] = torch.as_tensor(tokens, device=device)
    lengths = torch.tensor([len(tokens) for tokens in lists], device=device)
    index = torch.searchsorted(known, ids).clamp(max=len(known) - 1)
    over = torch.arange(ids.shape[1], device=device) >= lengths[:, None]
    if tree.paths.shape[1] == 2:
        allowed = _allowed_flat(known, index, over, end=tree.end, ends=ends)
        wrong = ((known[index] != ids) | ~allowed.gather(2, index[..., None])[..., 0]) & ~over
        if bool(wrong.any()):
            raise ValueError(_MISPLACED.format(*wrong.nonzero()[0].tolist()))
        return Chosen(known, allowed, index.masked_fill(over, 0))
    most = np.full(len(lists), tree.n_items)
    rows = Rows(tree, np.ones_like(most) if ends else most, most, device)
    allowed = torch.ones((*ids.shape, len(known)), dtype=torch.bool, device=device)
    border = torch.searchsorted(known, rows.border_tokens)
    for place in range(n_places):
        active = (place < lengths) & ~rows.done
        choices = rows.choices()
        wide = choices.children.shape[1]
        here = torch.cat([rows.tokens[choices.children], rows.border_tokens.expand(len(ids), -1)], dim=1)
        may = rows.allowed(choices)
        match = (here == ids[:, place, None]) & may
        misplaced = (place < lengths) & (rows.done | ~match.any(dim=1))
        if bool(misplaced.any()):
            raise ValueError(_MISPLACED.format(int(misplaced.nonzero()[0, 0]), place))
        spread = torch.zeros((len(ids), len(known)), dtype=torch.bool, device=device)
        spread[:, border] = may[:, wide:]
        if wide:
            inner = torch.searchsorted(known, here[:, :wide].contiguous()).clamp(max=len(known) - 1)
            spread.scatter_(1, inner, spread.gather(1, inner) | may[:, :wide])
        allowed[:, place] = torch.where(active[:, None], spread, allowed[:, place])
        rows.advance(match.int().argmax(dim=1), choices, active)
    return Chosen(known, allowed, index.masked_fill(over, 0))


_MISPLACED = "List {} has a token in place {} that could not be written there."


def _allowed_flat(
    known: torch.Tensor, index: torch.Tensor, over: torch.Tensor, *, end: int, ends: bool
) -> torch.Tensor:
    """Find what could stand where every item is one token: those not written before, and the end."""
    import torch

    n_lists, n_places = index.shape
    places = torch.arange(n_places, device=index.device)
    # The first place of each token, beyond the last one where it does not occur.
    first = torch.full((n_lists, len(known) + 1), n_places, device=index.device)
    first.scatter_reduce_(1, index.masked_fill(over, len(known)), places.expand(n_lists, -1), "amin")
    allowed = first[:, None, :-1] >= places[:, None]
    at_end = int(torch.searchsorted(known, end))
    n_left = len(known) - 1 - places  # items that are left at each place, if no list has ended before it
    allowed[:, :, at_end] = ((places > 0) & (ends | (n_left <= 0)))[None]
    return allowed | over[..., None]
