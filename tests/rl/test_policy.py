"""What is sampled and what is learned from are one distribution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sc_c2s.engine import LocalEngine, speech
from sc_c2s.models import nano
from sc_c2s.rl.policy import FreeText, ListOfItems, OneAnswer, WordsByShare

WORDS = ["A", "B", "C", "D", "E", "=x", "=y"]
PROMPTS = ["A B", "C D E A B", "A B"]


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    model, tokenizer = nano.build(["<cell>", ":", *WORDS], width=32, n_layers=1, n_heads=2, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
    return LocalEngine(model.eval(), tokenizer, quiet=True)


@pytest.fixture(scope="module")
def sub_words(make_llama, piece_tokenizer) -> LocalEngine:
    model = make_llama(len(piece_tokenizer))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4)
    return LocalEngine(model, piece_tokenizer, quiet=True)


def batch(engine: LocalEngine, prompts: list[str], answers: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Prompts padded on the left and answers on the right, as TRL has them."""
    ids = engine.tokenizer(prompts)["input_ids"]
    before, behind = max(map(len, ids)), max(map(len, answers))
    tokens = torch.zeros((len(ids), before + behind), dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for i, (prompt, answer) in enumerate(zip(ids, answers, strict=True)):
        both = slice(before - len(prompt), before + len(answer))
        tokens[i, both], mask[i, both] = torch.tensor([*prompt, *answer]), 1
    return tokens, mask, behind


def learned(engine, policy, prompts, answers) -> tuple[torch.Tensor, torch.Tensor]:
    def run(**inputs):
        return engine.model(**{"use_cache": False, **inputs})

    tokens, mask, n_last = batch(engine, prompts, answers)
    return policy.log_probs(run, tokens, mask, n_last)


def frequencies(engine, policy, n_words: int, n: int = 4000) -> Counter:
    return Counter(map(tuple, policy.draw(engine, ["A B"] * n, n_words, np.arange(n))))


CLOSED = {
    "words": (partial(WordsByShare.of, words=[" A", " B", " C"]), 2),
    "list": (partial(ListOfItems.of, items=["A", "B", "C"], ends=False), 2),
    "list that may end": (partial(ListOfItems.of, items=["A", "B", "C"], ends=True), 3),
    "one answer": (partial(OneAnswer.of, answers=[" =x", " =y"]), 1),
}
POLICIES = {**CLOSED, "free text": (FreeText.of, 6)}


@pytest.mark.parametrize("name", CLOSED)
def test_answers_are_drawn_as_probable_as_the_loss_takes_them_for(engine, name) -> None:
    make, n_words = CLOSED[name]
    policy = make(engine)
    found = frequencies(engine, policy, n_words)
    answers = [list(answer) for answer in found]
    logs, _ = learned(engine, policy, ["A B"] * len(answers), answers)
    expected = logs.sum(dim=1).exp().detach().numpy()
    assert expected.sum() == pytest.approx(1, abs=0.02), "nothing else can be drawn"
    np.testing.assert_allclose(np.array([found[tuple(a)] for a in answers]) / 4000, expected, atol=0.03)


def test_labels_of_several_tokens_are_drawn_as_they_are_scored(sub_words) -> None:
    answers = [" CD4 T cell", " CD4 T cell, naive", " B cell"]
    policy = OneAnswer.of(sub_words, answers)
    scores = sub_words.score(["GENE1 GENE2"], answers)[0]
    shares = np.exp(scores - np.logaddexp.reduce(scores))
    drawn = Counter(map(tuple, policy.draw(sub_words, ["GENE1 GENE2"] * 3000, 1, np.arange(3000))))
    found = np.array([drawn[tuple(path)] for path in policy.paths]) / 3000
    np.testing.assert_allclose(found, shares, atol=0.03)
    logs, entropy = learned(sub_words, policy, ["GENE1 GENE2"] * 3, [list(path) for path in policy.paths])
    np.testing.assert_allclose(logs.sum(dim=1).exp().detach().numpy(), shares, atol=1e-4)
    assert entropy[:, 0].detach().numpy() == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-3)


@pytest.mark.parametrize("name", POLICIES)
def test_a_row_depends_on_its_prompt_and_its_seed_alone(engine, name) -> None:
    make, n_words = POLICIES[name]
    policy = make(engine)
    together = policy.draw(engine, PROMPTS, n_words, np.array([3, 4, 5]))
    alone = [policy.draw(engine, [p], n_words, np.array([s]))[0] for p, s in zip(PROMPTS, (3, 4, 5), strict=True)]
    assert together == alone
    logs, entropy = learned(engine, policy, PROMPTS, together)
    for i, (prompt, answer) in enumerate(zip(PROMPTS, together, strict=True)):
        one, unsure = learned(engine, policy, [prompt], [answer])
        torch.testing.assert_close(logs[i, : len(answer)], one[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(entropy[i, : len(answer)], unsure[0], atol=1e-5, rtol=1e-4)


def test_all_answers_to_a_prompt_cost_one_pass(engine) -> None:
    policy, n_rows = WordsByShare.of(engine, [" A", " B"]), []

    def run(**inputs):
        n_rows.append(len(inputs["input_ids"]))
        return engine.model(**{"use_cache": False, **inputs})

    answers = policy.draw(engine, ["A B", "C"] * 8, 5, np.arange(16))
    tokens, mask, n_last = batch(engine, ["A B", "C"] * 8, answers)
    logs, _ = policy.log_probs(run, tokens, mask, n_last)
    assert n_rows == [2]
    logs.sum().backward()
    assert engine.model.get_output_embeddings().weight.grad.abs().sum() > 0
    engine.model.zero_grad()


# Free text


@pytest.fixture
def ending(sub_words) -> Iterator[LocalEngine]:
    """A model that may end an answer anywhere, by one of two tokens."""
    sub_words.model.generation_config.eos_token_id = [1, 40]
    more = 2.0 * torch.isin(torch.arange(len(sub_words.tokenizer)), torch.tensor([1, 40]))
    pushed = sub_words.model.get_output_embeddings().register_forward_hook(lambda *args: args[-1] + more)
    yield sub_words
    pushed.remove()
    sub_words.model.generation_config.eos_token_id = 1


def test_prose_is_learned_with_the_probabilities_that_it_was_drawn_with(ending, monkeypatch) -> None:
    prompts = ["GENE1 GENE2", "GENE3 GENE4 GENE5 GENE1: what?", "GENE7", "GENE1 GENE2"] * 8
    policy, choose, seen = FreeText.of(ending), speech._chosen, []

    def look(logits: torch.Tensor, *args: Any) -> torch.Tensor:
        tokens = choose(logits, *args)
        logs = logits.log_softmax(dim=1)
        ended = torch.isin(tokens, torch.tensor([1, 40]))
        seen.append(float(torch.where(ended, logs[:, [1, 40]].logsumexp(dim=1), logs[0, tokens])))
        return tokens

    monkeypatch.setattr(speech, "_chosen", look)
    drawn, expected = [], []
    for seed, prompt in enumerate(prompts):
        drawn += policy.draw(ending, [prompt], 6, np.array([seed]))
        expected.append(list(seen))
        seen.clear()
    lengths = np.array([len(answer) for answer in drawn])
    cut = np.array([answer[-1] != 1 for answer in drawn])
    assert {1, 6} <= set(lengths), "some end at once, some are cut"
    assert 0 < cut.sum() < len(cut)
    assert (lengths[cut] == 6).all()
    assert all(1 not in answer[:-1] and 40 not in answer for answer in drawn), "one token stands for both ends"
    logs, entropy = learned(ending, policy, prompts, drawn)
    for row, unsure, values in zip(logs.detach().numpy(), entropy.numpy(), expected, strict=True):
        np.testing.assert_allclose(row[: len(values)], values, atol=1e-4)
        assert not row[len(values) :].any()
        assert not unsure[len(values) :].any(), "padding is no choice"
        assert (unsure[: len(values)] > 0).all()


def test_a_prompt_is_read_once_and_teaches_as_all_its_rows_would(ending) -> None:
    policy, shapes = FreeText.of(ending), []
    prompts = ["GENE1 GENE2 GENE5", "GENE3"] * 6
    answers = policy.draw(ending, prompts, 5, np.arange(12))
    tokens, mask, n_last = batch(ending, prompts, answers)

    def run(**inputs):
        shapes.append(tuple(inputs["input_ids"].shape))
        return ending.model(**{"use_cache": False, **inputs})

    def gradients() -> list[torch.Tensor]:
        found = [weight.grad.clone() for weight in ending.model.parameters()]
        ending.model.zero_grad()
        return found

    weight = torch.linspace(-1, 1, 12)[:, None]
    logs, _ = policy.log_probs(run, tokens, mask, n_last)
    (logs * weight).sum().backward()
    assert shapes == [(2, tokens.shape[1] - n_last), (12, n_last - 1)]
    found = gradients()

    total = torch.zeros(())
    for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids = torch.tensor([[*ending.tokenizer(prompt)["input_ids"], *answer]])
        plain = ending.model(ids, use_cache=False).logits[0, -len(answer) - 1 : -1].log_softmax(dim=1)
        own = plain.gather(1, torch.tensor(answer)[:, None])[:, 0]
        own = torch.where(torch.tensor(answer) == 1, plain[:, [1, 40]].logsumexp(dim=1), own)
        torch.testing.assert_close(logs[i, : len(answer)], own, atol=1e-4, rtol=1e-4)
        total = total + (own * weight[i]).sum()
    total.backward()
    for one, other in zip(found, gradients(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_prose_of_one_token(ending) -> None:
    policy = FreeText.of(ending)
    answers = policy.draw(ending, ["GENE1"] * 5, 1, np.arange(5))
    logs, _ = learned(ending, policy, ["GENE1"] * 5, answers)
    assert logs.shape == (5, 1)
    assert (logs < 0).all()


def test_prose_needs_an_end() -> None:
    endless: Any = SimpleNamespace(tokenizer=SimpleNamespace(eos_token_id=None))
    with pytest.raises(ValueError, match="no end token"):
        FreeText.of(endless)
