"""Lists that were written, read again: the same probabilities as when they were written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sc_c2s.engine.decoding import decode
from sc_c2s.engine.items import ItemTree
from sc_c2s.engine.race import Draws
from sc_c2s.engine.replay import replay
from sc_c2s.engine.sampling import Sampling

END, N_TOKENS = 0, 12


def mock_logits(seen: list[int]) -> np.ndarray:
    return np.random.default_rng(seen).normal(0, 2, N_TOKENS).astype(np.float32)


class Mock:
    """A model whose next token depends on all tokens before it, in no sensible way."""

    def __init__(self, n: int) -> None:
        self.seen: list[list[int]] = [[] for _ in range(n)]

    def read(self, tokens: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        for seen, row, mask in zip(self.seen, tokens, shown, strict=True):
            seen += row[mask].tolist()
        return torch.from_numpy(np.stack([mock_logits(seen) for seen in self.seen]))

    def keep(self, rows: torch.Tensor) -> None:
        self.seen = [self.seen[i] for i in rows.tolist()]


def written(tree: ItemTree, n: int, *, most: int, ends: bool) -> tuple[list[list[int]], np.ndarray]:
    """Lists, their tokens, and the log-probability of each as it was written."""
    many = np.full(n, most)
    lists = decode(
        Mock(n),
        tree,
        np.arange(n) + 20,
        least=np.ones(n, dtype=int) if ends else many,
        most=many,
        sampling=Sampling(),
        draws=Draws.alone(np.arange(n)),
    )
    return [tree.written(one.items, ended=one.ended) for one in lists], np.array([one.log_prob for one in lists])


def replayed(tree: ItemTree, lists: list[list[int]], *, ends: bool) -> torch.Tensor:
    chosen = replay(tree, lists, ends=ends)
    logits = torch.zeros(chosen.allowed.shape)
    for i, tokens in enumerate(lists):
        for place in range(len(tokens)):
            logits[i, place] = torch.from_numpy(mock_logits([i + 20, *tokens[:place]]))[chosen.tokens]
    logs, _ = chosen.log_probs(logits)
    there = torch.arange(logs.shape[1]) < torch.tensor([len(tokens) for tokens in lists])[:, None]
    return (logs * there).sum(dim=1)


@st.composite
def vocabularies(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """Items of one to three tokens, none of which begins with another one."""
    long = draw(st.lists(st.tuples(st.integers(1, 3), st.integers(6, 8), st.integers(9, 11)), max_size=8, unique=True))
    short = draw(st.lists(st.tuples(st.integers(4, 5)), min_size=1, max_size=2, unique=True))
    return [*long, *short]


@given(items=vocabularies(), more=st.integers(0, 5), ends=st.booleans())
@settings(max_examples=60, deadline=None)
def test_lists_are_as_probable_as_when_they_were_written(items, more, ends):
    tree = ItemTree.build(items, end=END)
    lists, expected = written(tree, 5, most=min(1 + more, len(items)), ends=ends)
    np.testing.assert_allclose(replayed(tree, lists, ends=ends).numpy(), expected, atol=1e-4)


def test_a_name_that_could_go_on_counts_as_one_name():
    tree = ItemTree.build([(3, 9), (4,), (4, 8), (5,)], end=END)
    lists, expected = written(tree, 40, most=4, ends=True)
    whole = [i for i, tokens in enumerate(lists) if tokens[-1] == END or tokens[-1] != 4]
    assert {tuple(tokens) for tokens in lists} > {(5, END)}
    np.testing.assert_allclose(replayed(tree, lists, ends=True).numpy()[whole], expected[whole], atol=1e-4)


def test_probabilities_of_what_is_allowed_sum_to_one_and_of_all_else_are_nothing():
    tree = ItemTree.build([(3,), (4,), (5,)], end=END)
    chosen = replay(tree, [[4, 3, END], [5]], ends=True)
    logits = torch.randn(chosen.allowed.shape)
    logs = logits.masked_fill(~chosen.allowed, -torch.inf).log_softmax(-1)
    torch.testing.assert_close(logs.exp().sum(-1), torch.ones(logs.shape[:2]))
    assert chosen.tokens.tolist() == [END, 3, 4, 5]
    assert chosen.allowed[0, 0].tolist() == [False, True, True, True], "a list has at least one item"
    assert chosen.allowed[0, 1].tolist() == [True, True, False, True], "none is written twice"
    assert replay(tree, [[4, 3]], ends=False).allowed[0, 1].tolist() == [False, True, False, True], "it may not end"


def test_the_loss_moves_only_what_could_be_written():
    tree = ItemTree.build([(3,), (4,), (5,)], end=END)
    chosen = replay(tree, [[4, 3]], ends=False)
    logits = torch.zeros(chosen.allowed.shape, requires_grad=True)
    logs, entropy = chosen.log_probs(logits)
    (logs.sum() + entropy.sum()).backward()
    assert torch.isfinite(logits.grad).all()
    assert bool((logits.grad[~chosen.allowed] == 0).all())
    assert bool((logits.grad[chosen.allowed] != 0).any())
    np.testing.assert_allclose(entropy.detach().numpy()[0], np.log([3, 2]), rtol=1e-6)


@pytest.mark.parametrize("tokens", [[4, 4], [7], [END]])
def test_what_could_not_be_written_is_refused(tokens):
    with pytest.raises(ValueError, match="could not be written"):
        replay(ItemTree.build([(3,), (4,)], end=END), [tokens], ends=True)
