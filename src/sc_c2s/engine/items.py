"""A closed list of texts as a tree of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class ItemTree:
    """Items that share their first tokens.

    Nodes are numbered level by level, so that the children of a node follow each other; node 0 is the root, before any
    item. One more node, ``nowhere``, has no children and stands for the end of every way.
    """

    tokens: np.ndarray
    """Token that leads to each node (nodes + 1); 0 for the root and for nowhere."""
    first_child: np.ndarray
    """Number of the first child of each node (nodes + 1)."""
    n_children: np.ndarray
    """Number of children of each node (nodes + 1)."""
    item: np.ndarray
    """Item that ends at each node, or the number of items where none does (nodes + 1)."""
    below: np.ndarray
    """Number of items at each node or below it (nodes + 1)."""
    paths: np.ndarray
    """Nodes from the root to each item, filled up with nowhere (items + 1 × longest); the last row is nowhere alone."""
    end: int
    """Token that ends a list of items."""

    @classmethod
    def build(cls, items: Sequence[Sequence[int]], *, end: int) -> ItemTree:
        """Merge items into a tree.

        Parameters
        ----------
        items
            Token ids of each item.
        end
            Token that ends a list.

        Raises
        ------
        ValueError
            If a list could be read in more than one way: two items of the same tokens, or a token that both goes on with
            an item and begins the next one.
        """
        known = [tuple(int(token) for token in item) for item in items]
        if not known or not all(known):
            raise ValueError("A closed vocabulary needs items of one token or more.")
        if len(set(known)) < len(known):
            one, other = _same(known)
            raise ValueError(f"Items {one} and {other} of the vocabulary are the same tokens: leave one of them out.")
        children: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for way in sorted({item[:k] for item in known for k in range(1, len(item) + 1)}):
            children.setdefault(way[:-1], []).append(way)
        number: dict[tuple[int, ...], int] = {}
        level: list[tuple[int, ...]] = [()]
        while level:
            number |= {way: len(number) + i for i, way in enumerate(level)}
            level = [way for parent in level for way in children.get(parent, [])]
        n_nodes, none = len(number), len(known)
        nowhere = n_nodes
        tokens, first, n_children = (np.zeros(n_nodes + 1, dtype=np.int64) for _ in range(3))
        below, item_at = np.zeros(n_nodes + 1, dtype=np.int32), np.full(n_nodes + 1, none)
        for way, j in number.items():
            tokens[j] = way[-1] if way else 0
            n_children[j] = len(children.get(way, []))
            first[j] = min((number[child] for child in children.get(way, [])), default=nowhere)
        paths = np.full((none + 1, max(map(len, known)) + 1), nowhere)
        for i, way in enumerate(known):
            paths[i, : len(way) + 1] = [number[way[:k]] for k in range(len(way) + 1)]
            item_at[number[way]] = i
            below[paths[i, : len(way) + 1]] += 1
        tree = cls(tokens, first, n_children, item_at, below, paths, end)
        tree._check(none)
        return tree

    @property
    def nowhere(self) -> int:
        """Number of the node that has no children and no item."""
        return len(self.tokens) - 1

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.paths) - 1

    @property
    def roots(self) -> np.ndarray:
        """Tokens that items begin with; that of node ``j`` is number ``j - 1``."""
        return self.tokens[1 : 1 + self.n_children[0]]

    def written(self, items: Sequence[int] | np.ndarray, *, ended: bool) -> list[int]:
        """Tokens of a list of items, with the end token if it ended."""
        nodes = self.paths[np.asarray(items, dtype=np.int64), 1:].ravel()
        return [*self.tokens[nodes[nodes != self.nowhere]].tolist(), *([self.end] if ended else [])]

    def longest(self, n_items: np.ndarray) -> np.ndarray:
        """Count the tokens of the longest list of so many items, its end included."""
        lengths = np.sort((self.paths[:-1] != self.nowhere).sum(axis=1) - 1)[::-1]
        return np.concatenate([[0], np.cumsum(lengths)])[n_items] + 1

    def _check(self, none: int) -> None:
        starts = {*self.roots.tolist(), self.end}
        if self.end in self.roots:
            raise ValueError("The end token begins an item of the vocabulary: leave that item out.")
        for j in np.flatnonzero((self.item < none) & (self.n_children > 0)):
            following = self.tokens[self.first_child[j] : self.first_child[j] + self.n_children[j]]
            if starts & set(following.tolist()):
                raise ValueError(
                    f"Item {self.item[j]} of the vocabulary goes on, in a longer item, with a token that also begins one: "
                    "this tokenizer cannot tell where items end; leave the longer one out."
                )


def _same(items: list[tuple[int, ...]]) -> tuple[int, int]:
    seen: dict[tuple[int, ...], int] = {}
    for i, item in enumerate(items):
        if item in seen:
            return seen[item], i
        seen[item] = i
    raise AssertionError("no two items are the same")
