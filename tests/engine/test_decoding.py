"""Lists of a closed vocabulary, against a plain rendering of the rules that knows no batch, cache or tree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sc_c2s.engine.decoding import Completion, decode
from sc_c2s.engine.items import ItemTree
from sc_c2s.engine.race import Draws
from sc_c2s.engine.sampling import Sampling

END, N_TOKENS = 0, 12
GREEDY = Sampling(temperature=0)


class Mock:
    """A model whose next token depends on all tokens before it, in no sensible way."""

    def __init__(self, prompts: Sequence[Sequence[int]]) -> None:
        self.seen = [list(prompt[:-1]) for prompt in prompts]
        self.n_rows: list[int] = []

    def read(self, tokens: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        self.n_rows.append(len(tokens))
        for seen, row, mask in zip(self.seen, tokens, shown, strict=True):
            seen += row[mask].tolist()
        return torch.from_numpy(np.stack([mock_logits(seen) for seen in self.seen]))

    def keep(self, rows: torch.Tensor) -> None:
        self.seen = [self.seen[i] for i in rows.tolist()]


def mock_logits(seen: Sequence[int]) -> np.ndarray:
    return np.random.default_rng(seen).normal(0, 2, N_TOKENS).astype(np.float32)


def write(items: list[tuple[int, ...]], prompts: Sequence[Sequence[int]], **how: object) -> list[Completion]:
    n = len(prompts)
    least, most = (np.broadcast_to(how.pop(name, default), n) for name, default in (("least", 1), ("most", 5)))
    settings = {"sampling": GREEDY, "draws": Draws.alone(np.arange(n))} | how
    last = np.array([prompt[-1] for prompt in prompts])
    return decode(Mock(prompts), ItemTree.build(items, end=END), last, least=least, most=most, **settings)


@st.composite
def vocabularies(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """Items begin with tokens 1 to 5 and go on with tokens 6 to 11; many begin with another one. Or each is one token."""
    inner = st.lists(st.integers(6, N_TOKENS - 1), max_size=draw(st.sampled_from([0, 3])))
    items = draw(st.lists(st.tuples(st.integers(1, 5), inner), min_size=1, max_size=12, unique_by=repr))
    return [(first, *rest) for first, rest in items]


@given(items=vocabularies(), least=st.integers(0, 4), more=st.integers(0, 10), seed=st.integers(0, 100))
@settings(max_examples=100, deadline=None)
def test_greedy_lists_follow_the_rules(plain, items, least, more, seed) -> None:
    most = min(max(least + more, 1), len(items))
    prompts = [[1, seed], [2, 3, seed], [1, seed], [4, seed + 1]]
    found = write(items, prompts, least=least, most=most)
    for prompt, one in zip(prompts, found, strict=True):
        expected, total = plain(items, prompt, mock_logits, end=END, least=least, most=most)
        assert one.items.tolist() == expected
        assert one.log_prob == pytest.approx(total, abs=1e-4)


@given(
    items=vocabularies(),
    temperature=st.sampled_from([0.3, 1.0, 5.0]),
    seed=st.integers(0, 2**63),
    balanced=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_drawn_lists_hold_known_items_once_whatever_the_batch(items, temperature, seed, balanced) -> None:
    prompts = [[1, i % 3] for i in range(9)]
    seeds = np.arange(9, dtype=np.uint64) + np.uint64(seed)
    how = {"sampling": Sampling(temperature=temperature, top_p=0.95, top_k=6, min_p=0.01), "least": 2, "most": 6}
    draws = Draws.together(seeds, [i % 3 for i in range(9)]) if balanced else Draws.alone(seeds)
    together = write(items, prompts, draws=draws, **how)
    for i, one in enumerate(together):
        assert len(set(one.items.tolist())) == len(one.items)
        assert min(2, len(items)) <= len(one.items) <= 6
        assert set(one.items.tolist()) <= set(range(len(items)))
        assert one.ended == (len(one.items) < 6)
        [alone] = write(items, [prompts[i]], draws=draws[[i]], **how)
        assert alone.items.tolist() == one.items.tolist()
        np.testing.assert_allclose(alone.item_log_prob, one.item_log_prob, atol=1e-6)


def test_log_probabilities_add_up() -> None:
    """One item of two, then the other or the end: the three lists there are have all the probability there is."""
    items, prompts = [(1,), (2,)], [[3, i] for i in range(400)]
    lists = write(items, prompts, sampling=Sampling(), most=2)
    for prompt, one in zip(prompts, lists, strict=True):
        logits = mock_logits(prompt)[[1, 2]].astype(np.float64)
        first = logits[one.items[0]] - np.logaddexp.reduce(logits)
        assert one.item_log_prob[0] == pytest.approx(first, abs=1e-5)
        other = 2 - int(one.items[0])
        after = mock_logits([*prompt, 1 + int(one.items[0])])[[other, END]].astype(np.float64)
        rest = after[1 if len(one.items) == 1 else 0] - np.logaddexp.reduce(after)
        assert one.log_prob == pytest.approx(first + rest, abs=1e-5)
        assert one.ended == (len(one.items) == 1)


def test_draws_are_as_probable_as_the_model_says() -> None:
    items, n = [(1,), (2,), (3,), (4,)], 4000
    lists = write(items, [[5, 5]] * n, sampling=Sampling(), most=1)
    found = np.bincount([one.items[0] for one in lists], minlength=4) / n
    logits = mock_logits([5, 5])[1:5].astype(np.float64)
    expected = np.exp(logits - np.logaddexp.reduce(logits))
    np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / n))


def test_forced_tokens_are_not_asked_for() -> None:
    """After its first token a name of four tokens leaves no choice, nor does the list of a single item."""
    items = [(1, 6, 7, 8), (2, 9, 10, 11)]
    prompts = [[3, i] for i in range(6)]
    mock = Mock(prompts)
    last = np.array([prompt[-1] for prompt in prompts])
    lists = decode(
        mock,
        ItemTree.build(items, end=END),
        last,
        least=np.full(6, 2),
        most=np.full(6, 2),
        sampling=GREEDY,
        draws=Draws.alone(last),
    )
    assert len(mock.n_rows) == 1, "one choice, between the two names, and then all is forced"
    assert [one.n_forced for one in lists] == [3 + 4] * 6
    assert all(sorted(one.items.tolist()) == [0, 1] for one in lists)


def test_finished_rows_leave_the_batch() -> None:
    items = [(i,) for i in range(1, N_TOKENS)]
    most = np.array([1] * 8 + [11] * 8)
    prompts = [[3, i] for i in range(16)]
    mock = Mock(prompts)
    last = np.arange(16)
    decode(mock, ItemTree.build(items, end=END), last, least=most, most=most, sampling=GREEDY, draws=Draws.alone(last))
    assert mock.n_rows == [16, *[8] * 9], "the last of eleven leaves no choice"


def test_a_name_that_goes_on_gives_the_short_one_back() -> None:
    """``1`` is an item and the beginning of ``1 6``; both can be written, in either order."""
    items = [(1,), (1, 6), (1, 6, 7)]
    orders = {tuple(one.items.tolist()) for one in write(items, [[2, i] for i in range(200)], least=3, most=3)}
    assert orders == {(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "one token or more"),
        ([(1,), ()], "one token or more"),
        ([(1,), (2,), (1,)], "Items 0 and 2"),
        ([(END, 3)], "end token"),
        ([(1,), (1, 2), (2,)], "goes on"),
        ([(1,), (1, END)], "goes on"),
    ],
)
def test_vocabularies_that_cannot_be_told_apart(items, message) -> None:
    with pytest.raises(ValueError, match=message):
        ItemTree.build(items, end=END)
