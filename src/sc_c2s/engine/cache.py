"""A cache that has room to grow, so that a step does not copy all that was read before it."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

ROOM = 1.5
"""How much longer the store is than what is in it when it is made anew."""


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer in a store with room to spare; the ordinary layer copies everything at every step."""

    keys: torch.Tensor
    values: torch.Tensor
    _stores: tuple[torch.Tensor, torch.Tensor] | None = None

    @classmethod
    def of(cls, layer: DynamicLayer) -> GrowingLayer:
        """Take over what an ordinary layer holds."""
        grown = cls()
        grown.lazy_initialization(layer.keys, layer.values)
        grown.keys, grown.values = layer.keys, layer.values
        return grown

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add keys and values; gives all there are, as views of the store."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        n = self.get_seq_length()
        total = n + key_states.shape[-2]
        if self._stores is None or self._stores[0].shape[-2] < total:
            self._stores = (self._store(self.keys, key_states, total), self._store(self.values, value_states, total))
        for store, new in zip(self._stores, (key_states, value_states), strict=True):
            store[..., n:total, :] = new
        self.keys, self.values = (store[..., :total, :] for store in self._stores)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows only."""
        super().batch_select_indices(indices)
        self._stores = None

    def _store(self, old: torch.Tensor, new: torch.Tensor, total: int) -> torch.Tensor:
        store = new.new_empty((*new.shape[:-2], int(total * ROOM) + 32, new.shape[-1]))
        if old.numel():
            store[..., : old.shape[-2], :] = old
        return store


def growing(cache: Any) -> Any:
    """Give a cache room to grow, if it is one that keeps all it has read."""
    if type(cache) is DynamicCache and all(type(layer) is DynamicLayer for layer in cache.layers):
        cache.layers = [GrowingLayer.of(layer) for layer in cache.layers]
    return cache
