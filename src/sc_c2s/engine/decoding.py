"""Lists of items from a closed vocabulary, written token by token."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .items import ItemTree
from .race import Draws, Race
from .sampling import Sampling

if TYPE_CHECKING:
    import torch

DROP = 8
"""Finished rows leave the batch once they are one of so many: to copy what the others have seen costs time as well."""


@dataclass(frozen=True)
class Completion:
    """A list of items that a model wrote after a prompt.

    Attributes
    ----------
    items
        Numbers of the items in the order they were written; none twice.
    item_log_prob
        Log-probability of each of them, given what stands before it, among all that was allowed there.
    log_prob
        Log-probability of the whole list: the sum over its items and what ended it.
    ended
        Whether the model ended the list; otherwise it was cut at the most items asked for.
    n_forced
        Tokens that left no choice and were written without asking the model.
    """

    items: np.ndarray
    item_log_prob: np.ndarray
    log_prob: float
    ended: bool
    n_forced: int


class Reader(Protocol):
    """A model that has read the prompts of a batch, but for the last token of each."""

    def read(self, tokens: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        """Read more of each row (rows × columns, those not shown are padding); logits behind it (rows × vocabulary)."""
        ...

    def keep(self, rows: torch.Tensor) -> None:
        """Forget all rows but these."""
        ...


@dataclass(frozen=True)
class Choices:
    """What each row of a batch may write next.

    Attributes
    ----------
    children, inner
        Children of the row's node, and whether it may go there (rows × most children).
    begin
        Whether an item may begin.
    stop
        Whether the list may end.
    """

    children: torch.Tensor
    inner: torch.Tensor
    begin: torch.Tensor
    stop: torch.Tensor

    def keep(self, rows: torch.Tensor) -> Choices:
        """Forget all rows but these."""
        return Choices(self.children[rows], self.inner[rows], self.begin[rows], self.stop[rows])


class Rows:
    """What the rows of a batch have written, and what each may write next.

    An item whose name is whole, but could go on as another one's, counts as used until it does go on.

    Parameters
    ----------
    tree
        The vocabulary.
    least, most
        Fewest and most items of each row.
    device
        Where to work.
    """

    def __init__(self, tree: ItemTree, least: np.ndarray, most: np.ndarray, device: Any) -> None:
        import torch

        def on_device(array: np.ndarray) -> torch.Tensor:
            return torch.tensor(array, device=device)

        n = len(most)
        self.tree, self.n_roots = tree, len(tree.roots)
        self.tokens, self.first_child = on_device(tree.tokens), on_device(tree.first_child)
        self.n_children, self.item_at = on_device(tree.n_children), on_device(tree.item)
        self.paths = on_device(tree.paths)
        self.borders = on_device(np.append(np.arange(1, 1 + self.n_roots), tree.nowhere))
        """Node of each column where an item may begin; the list ends nowhere."""
        self.column = on_device(np.append(tree.paths[:-1, 1] - 1, len(tree.roots)))
        """Column of the node that begins each item."""
        self.item_of_column = on_device(np.append(tree.item[1 : 1 + self.n_roots], tree.n_items))
        """Item that ends with the node of each column."""
        self.border_tokens = torch.cat([self.tokens[1 : 1 + self.n_roots], on_device(np.array([tree.end]))])
        """Tokens that may stand where an item may begin."""
        self.most_below_root = int(tree.below[1 : 1 + self.n_roots].max())
        self.left = on_device(tree.below).repeat(n, 1)
        """Items that a row may still write, at every node or below it."""
        self.flat = tree.paths.shape[1] == 2
        """Whether every item is one token: then no name is ever begun and not ended, and much need not be looked at."""
        first, last = int(tree.tokens[1]), int(tree.tokens[self.n_roots])
        self.range = (first, last + 1) if last - first + 1 == self.n_roots else None
        """Tokens that begin an item, if they follow each other."""
        self.closed = torch.zeros((n, self.n_roots + 1), device=device)
        """Minus infinity where no item is left that begins so; the last column is none of them."""
        self.used = torch.zeros((n, tree.n_items + 1), dtype=torch.bool, device=device)
        self.node = torch.full((n,), tree.nowhere, device=device)
        self.whole = torch.full((n,), tree.n_items, device=device)
        """Item whose name is whole but may go on."""
        self.border = torch.ones(n, dtype=torch.bool, device=device)
        """Whether an item may begin here."""
        self.done = torch.zeros(n, dtype=torch.bool, device=device)
        self.ended = torch.zeros(n, dtype=torch.bool, device=device)
        self.least, self.most = on_device(least), on_device(most)
        self.n_written = torch.zeros(n, dtype=torch.int64, device=device)
        self.n_forced = torch.zeros(n, dtype=torch.int64, device=device)
        width = int(most.max()) + 1  # the last column takes what is not to be kept
        self.written = torch.full((n, width), tree.n_items, device=device)
        self.item_log_prob = torch.zeros((n, width), dtype=torch.float64, device=device)
        self.log_prob = torch.zeros(n, dtype=torch.float64, device=device)
        self.told = torch.zeros(n, dtype=torch.float64, device=device)
        """Log-probability of the row up to the last item that was written."""

    def keep(self, rows: torch.Tensor) -> None:
        """Forget all rows but these."""
        for name in self._OF_ROWS:
            setattr(self, name, getattr(self, name)[rows])

    _OF_ROWS = (
        *("left", "closed", "used", "node", "whole", "border", "done", "ended", "least", "most"),
        *("n_written", "n_forced", "written", "item_log_prob", "log_prob", "told"),
    )

    def completion(self, row: int) -> Completion:
        """Give what a row has written."""
        n = int(self.n_written[row])
        return Completion(
            items=self.written[row, :n].cpu().numpy().astype(np.int32),
            item_log_prob=self.item_log_prob[row, :n].cpu().numpy(),
            log_prob=float(self.log_prob[row]),
            ended=bool(self.ended[row]),
            n_forced=int(self.n_forced[row]),
        )

    def choices(self) -> Choices:
        """Find what each row may write next."""
        import torch

        wide = 0 if self.flat else int(self.n_children[self.node].max())
        offset = torch.arange(wide, device=self.node.device)
        children = self.first_child[self.node][:, None] + offset
        children = children.where(offset < self.n_children[self.node][:, None], self.tree.nowhere)
        inner = self.left.gather(1, children) > 0
        n_items = self.n_written + (self.whole < self.tree.n_items)
        stop = self.border & ((n_items >= self.least) | (self.left[:, 0] == 0))
        # With the last item there is no next one to choose; its name may go on, or the list is over.
        last = self.border & (n_items >= self.most)
        return Choices(children, inner, self.border & ~last, stop | last | self.done)

    @property
    def n_racing(self) -> int:
        """Number of tokens that are drawn among: columns, or nodes."""
        return self.n_roots + 1 if self.flat else self.tree.nowhere + 1

    def racing(self, choices: Choices) -> torch.Tensor | None:
        """Which of them each column is; ``None`` where columns are the tokens."""
        import torch

        if self.flat:
            return None
        return torch.cat([choices.children, self.borders.expand(len(choices.children), -1)], dim=1)

    def forced(self, choices: Choices) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows that have no choice, and their column."""
        # Where more items are left than begin with any one token, there is a choice: no need to count.
        unclear = ~self.done & (~self.border | (self.left[:, 0] <= self.most_below_root))
        if not bool(unclear.any()):
            return unclear, self.node
        allowed = self.allowed(choices)
        return unclear & (allowed.sum(dim=1) == 1), allowed.int().argmax(dim=1)

    def allowed(self, choices: Choices) -> torch.Tensor:
        """Which columns, see :meth:`log_probs`, each row may choose (rows × columns)."""
        import torch

        begin = (self.closed[:, :-1] == 0) & choices.begin[:, None]
        return torch.cat([choices.inner, begin, choices.stop[:, None]], dim=1)

    def log_probs(self, logits: torch.Tensor, choices: Choices) -> torch.Tensor:
        """Log-probability of every column among those allowed.

        Columns are the children of the row's node, then all nodes that begin an item, then the end.
        """
        import torch

        closed = torch.full((), -torch.inf, device=logits.device)
        end = logits[:, self.tree.end, None].float()
        if self.range is None:
            scores = logits.index_select(1, self.border_tokens).float() + self.closed
        else:
            scores = torch.empty_like(self.closed)
            torch.add(self.closed[:, :-1], logits[:, slice(*self.range)], out=scores[:, :-1])
        if choices.children.shape[1]:
            # Where the list is over whatever follows, all that could follow speaks for its end.
            over = torch.cat([scores[:, :-1], end], dim=1).logsumexp(dim=1, keepdim=True)
            last = self.border & (self.n_written + (self.whole < self.tree.n_items) >= self.most)
            end = torch.where(last[:, None], over, end)
        if not bool(choices.begin.all()):
            scores += torch.where(choices.begin, 0.0, closed)[:, None]
        scores[:, -1:] = end.where(choices.stop[:, None], closed)
        if choices.children.shape[1]:
            inner = logits.gather(1, self.tokens[choices.children]).float()
            scores = torch.cat([inner.where(choices.inner, closed), scores], dim=1)
        return scores.log_softmax(dim=1)

    def advance(
        self, column: torch.Tensor, choices: Choices, active: torch.Tensor, log_prob: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Write what was chosen in the active rows; gives the token of each row."""
        import torch

        if self.flat:
            return self._advance_flat(column, active, log_prob)
        children = choices.children
        wide, none, nowhere = children.shape[1], self.tree.n_items, self.tree.nowhere
        inner, end = column < wide, column == wide + self.n_roots
        node = (column - wide + 1).where(~end, nowhere)
        if wide:
            node = children.gather(1, column.clamp(max=wide - 1)[:, None])[:, 0].where(inner, node)
            self._spend(self.whole.where(inner & active, none), give_back=True)
            self._write(self.whole.where(active & ~inner, none))
        if log_prob is not None:
            self.log_prob += log_prob.double().where(active, 0.0)
        item = self.item_at[node]
        item = item.where(active & ~self.used.gather(1, item[:, None])[:, 0], none)
        self._spend(item)
        whole = item < none
        closed = whole & (self.left.gather(1, node[:, None])[:, 0] == 0)
        self._write(item.where(closed, none))
        self.whole = torch.where(active, item.where(~closed, none), self.whole)
        self.node = torch.where(active, node.where(~closed, nowhere), self.node)
        self.border = torch.where(active, whole, self.border)
        self.ended |= active & end & (self.n_written < self.most)
        self.done |= active & (end | (self.n_written >= self.most))
        return self.tokens[node].where(~end, self.tree.end)

    def _advance_flat(self, column: torch.Tensor, active: torch.Tensor, log_prob: torch.Tensor | None) -> torch.Tensor:
        """Write what was chosen, where every item is one token: nodes below the root and names begun play no part."""
        item = self.item_of_column[column].where(active, self.tree.n_items)
        if log_prob is not None:
            self.log_prob += log_prob.double().where(active, 0.0)
        self.closed.scatter_(1, self.column[item][:, None], -math.inf)
        self.closed[:, -1] = 0
        self.left[:, 0] -= (item < self.tree.n_items).int()
        self._write(item)
        end = active & (column == self.n_roots)
        full = self.n_written >= self.most
        self.ended |= end & ~full
        self.done |= end | (active & full)
        return self.border_tokens[column]

    def _write(self, item: torch.Tensor) -> None:
        """Put down an item, or none."""
        real = item < self.tree.n_items
        place = self.n_written.where(real, self.written.shape[1] - 1)[:, None]
        self.written.scatter_(1, place, item[:, None])
        self.item_log_prob.scatter_(1, place, (self.log_prob - self.told)[:, None])
        self.told = self.log_prob.where(real, self.told)
        self.n_written += real

    def _spend(self, item: torch.Tensor, *, give_back: bool = False) -> None:
        """Count an item as used, or not any more."""
        import torch

        path, column = self.paths[item], self.column[item][:, None]
        step = torch.full((), 1 if give_back else -1, dtype=self.left.dtype, device=self.left.device)
        self.left.scatter_add_(1, path, step.expand(path.shape))
        self.left[:, self.tree.nowhere] = 0
        none_left = self.left.gather(1, path[:, 1:2]) <= 0
        self.closed.scatter_(
            1, column, torch.zeros_like(none_left, dtype=torch.float32).masked_fill(none_left, -torch.inf)
        )
        self.closed[:, -1] = 0
        self.used.scatter_(1, item[:, None], not give_back)
        self.used[:, self.tree.n_items] = False


def decode(
    reader: Reader,
    tree: ItemTree,
    last: np.ndarray,
    *,
    least: np.ndarray,
    most: np.ndarray,
    sampling: Sampling,
    draws: Draws,
    force: bool = True,
    device: Any = "cpu",
) -> list[Completion]:
    """Write a list of items after every prompt of a batch.

    A token that leaves no choice is written without asking the model, and read together with the next one. Rows that are
    finished leave the batch.

    Parameters
    ----------
    reader
        A model that has read all but the last token of each prompt.
    tree
        The vocabulary.
    last
        Last token of each prompt.
    least, most
        Fewest and most items of each list.
    sampling
        How a token is chosen.
    draws
        What each row draws.
    force
        Write tokens that leave no choice without asking the model. Rows then fall behind each other, which leaves gaps in
        what the shorter ones have read.
    device
        Where the rows are kept.
    """
    import torch

    n = len(last)
    rows = Rows(tree, np.asarray(least, dtype=np.int64), np.asarray(most, dtype=np.int64), device)
    race = Race(draws, rows.n_racing, device) if sampling.temperature else None
    names = np.arange(n)
    out: dict[int, Completion] = {}
    queue = [torch.from_numpy(np.asarray(last, dtype=np.int64)).to(device)[:, None]]
    shown = [torch.ones((n, 1), dtype=torch.bool, device=device)]
    while True:
        choices = rows.choices()
        while force:
            forced, only = rows.forced(choices)
            if not bool(forced.any()):
                break
            queue.append(rows.advance(only, choices, forced)[:, None])
            rows.n_forced += forced
            shown.append(forced[:, None])
            choices = rows.choices()
        n_done = int(rows.done.sum())
        if n_done == len(names) or n_done * DROP >= len(names):
            out |= {int(names[i]): rows.completion(i) for i in rows.done.nonzero()[:, 0].tolist()}
            if n_done == len(names):
                return [out[i] for i in range(n)]
            kept = (~rows.done).nonzero()[:, 0]
            rows.keep(kept)
            reader.keep(kept)
            if race is not None:
                race.keep(kept)
            names = names[kept.cpu().numpy()]
            queue, shown = [part[kept] for part in queue], [part[kept] for part in shown]
            choices = choices.keep(kept)
        logits = reader.read(*_left_padded(torch.cat(queue, dim=1), torch.cat(shown, dim=1)))
        log_prob = rows.log_probs(logits, choices)
        column = log_prob.argmax(dim=1) if race is None else race.run(sampling.weights(log_prob), rows.racing(choices))
        chosen = log_prob.gather(1, column[:, None])[:, 0]
        running = ~rows.done
        queue = [rows.advance(column, choices, running, chosen)[:, None]]
        shown = [running[:, None]]


def _left_padded(tokens: torch.Tensor, shown: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Move what is shown to the right, in order, and drop columns that show nothing."""
    if tokens.shape[1] == 1:
        return tokens, shown
    order = shown.int().argsort(dim=1, stable=True)
    width = max(int(shown.sum(dim=1).max()), 1)
    return tokens.gather(1, order)[:, -width:], shown.gather(1, order)[:, -width:]
