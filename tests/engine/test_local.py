"""Scores of the local engine against one plain pass for every prompt and answer."""

from __future__ import annotations

from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch

from sc_c2s.engine import Engine, LocalEngine, Sampling, Writer
from sc_c2s.engine.passes import Passes

GENES = [f"GENE{i}" for i in range(40)]

pytestmark = pytest.mark.filterwarnings("ignore:.*mamba.*", "ignore:.*fast path.*")


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "opt"])
def test_tree_equals_plain_passes(kind, make_model, piece_tokenizer, prompts, answers, naive) -> None:
    engine = LocalEngine(make_model(kind, piece_tokenizer), piece_tokenizer)
    scores = engine.score(prompts, answers)
    assert engine._agreed == {"tree": True}
    expected = naive(engine.model, piece_tokenizer, prompts, answers, end=True)
    assert np.ptp(expected, axis=0).min() > 0.1, "prompts have to matter for this test to say anything"
    np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=0)
    assert isinstance(engine, Engine)


@pytest.mark.parametrize(("kind", "method"), [("bloom", "cache"), ("gemma2", "cache"), ("mamba", "pairs")])
def test_models_that_do_not_take_the_tree(kind, method, make_model, piece_tokenizer, prompts, answers, naive) -> None:
    engine = LocalEngine(make_model(kind, piece_tokenizer), piece_tokenizer)
    scores = engine.score(prompts[:10], answers)
    assert [name for name, agreed in engine._agreed.items() if agreed] == ([method] if method != "pairs" else [])
    expected = naive(engine.model, piece_tokenizer, prompts[:10], answers, end=True)
    # Relative as well: an untrained mamba is sure of nonsense, to -300 nats.
    np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_any_attention(attention, make_model, piece_tokenizer, prompts, answers, naive) -> None:
    model = make_model("llama", piece_tokenizer, attn_implementation=attention)
    engine = LocalEngine(model, piece_tokenizer)
    scores = engine.score(prompts[:5], answers)
    assert engine._agreed == {"tree": True}
    expected = naive(model, piece_tokenizer, prompts[:5], answers, end=True)
    np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("refusal", ["raises", "ignores"])
def test_fallback_to_the_shared_cache(
    refusal, make_model, piece_tokenizer, prompts, answers, naive, monkeypatch
) -> None:
    model = make_model("llama", piece_tokenizer)
    expected = naive(model, piece_tokenizer, prompts, answers, end=True)
    forward = type(model).forward

    def stubborn(
        self, input_ids=None, attention_mask=None, position_ids=None, logits_to_keep=0, use_cache=None, **kwargs: Any
    ):
        if attention_mask is not None and attention_mask.ndim == 4:
            if refusal == "raises":
                raise ValueError("only masks with two dimensions")
            attention_mask = None
        return forward(
            self,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            logits_to_keep=logits_to_keep,
            use_cache=use_cache,
            **kwargs,
        )

    model.forward = MethodType(stubborn, model)
    engine = LocalEngine(model, piece_tokenizer)
    np.testing.assert_allclose(engine.score(prompts, answers), expected, atol=1e-5, rtol=0)
    assert engine._agreed == {"tree": False, "cache": True}
    np.testing.assert_allclose(engine.score(prompts, answers, batch_size=7), expected, atol=1e-5, rtol=0)


def test_one_token_labels_are_one_plain_pass(make_model, word_tokenizer, prompts, naive, monkeypatch) -> None:
    model = make_model("llama", word_tokenizer)
    labels = [" CD4%20T", " CD4%20T%20naive", " Dendritic"]
    expected = naive(model, word_tokenizer, prompts, labels, end=False)
    shapes = []
    forward = model.forward
    monkeypatch.setattr(Passes, "_pairs", None)
    engine = LocalEngine(model, word_tokenizer)

    def spy(*args: Any, **kwargs: Any):
        out = forward(*args, **kwargs)
        shapes.append((kwargs["input_ids"].shape[1], out.logits.shape[1]))
        return out

    model.forward = spy
    np.testing.assert_allclose(engine.score(prompts, labels, batch_size=8), expected, atol=1e-5, rtol=0)
    assert len(shapes) == 5
    longest_first = sorted((len(word_tokenizer(p)["input_ids"]) for p in prompts), reverse=True)
    assert shapes == [(length, 1) for length in longest_first[::8]]


def test_labels_outside_the_vocabulary_are_spelt_out(make_model, word_tokenizer, prompts, naive) -> None:
    model = make_model("llama", word_tokenizer)
    labels = [" CD4%20T", " Neutrophil", " Neutrophil%20II"]
    engine = LocalEngine(model, word_tokenizer)
    expected = naive(model, word_tokenizer, prompts, labels, end=True)
    np.testing.assert_allclose(engine.score(prompts, labels), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bloom"])
def test_batch_and_order_do_not_matter(kind, make_model, piece_tokenizer, prompts, answers) -> None:
    engine = LocalEngine(make_model(kind, piece_tokenizer), piece_tokenizer)
    one, many = engine.score(prompts, answers, batch_size=1), engine.score(prompts, answers, batch_size=64)
    np.testing.assert_allclose(one, many, atol=1e-5, rtol=0)
    order = np.random.default_rng(1).permutation(len(prompts))
    shuffled = engine.score([prompts[i] for i in order], answers, batch_size=16)
    np.testing.assert_allclose(shuffled, one[order], atol=1e-5, rtol=0)


def test_answers_are_scored_each_for_itself(make_model, piece_tokenizer, prompts, answers) -> None:
    engine = LocalEngine(make_model("llama", piece_tokenizer), piece_tokenizer)
    scores = engine.score(prompts, answers)
    np.testing.assert_allclose(engine.score(prompts, answers[::-1]), scores[:, ::-1], atol=1e-5, rtol=0)
    apart = [" B, memory", " Dendritic"]
    few = engine.score(prompts, apart)
    twice = engine.score(prompts, [*apart, *apart])
    np.testing.assert_allclose(twice, np.hstack([few, few]), atol=1e-5, rtol=0)


def test_special_tokens_around_a_text(make_model, closing_tokenizer, prompts, answers) -> None:
    model = make_model("llama", closing_tokenizer)
    scores = LocalEngine(model, closing_tokenizer).score(prompts[:3], answers)

    def plain(prompt: str, answer: str) -> float:
        n_before = len(closing_tokenizer(prompt)["input_ids"]) - 1
        ids = torch.tensor([closing_tokenizer(prompt + answer)["input_ids"]])
        assert ids[0, 0] == closing_tokenizer.bos_token_id
        assert ids[0, -1] == closing_tokenizer.eos_token_id
        with torch.no_grad():
            logp = model(input_ids=ids).logits[0].double().log_softmax(-1)
        return float(logp[range(n_before - 1, ids.shape[1] - 1), ids[0, n_before:]].sum())

    expected = [[plain(prompt, answer) for answer in answers] for prompt in prompts[:3]]
    np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=0)


def test_sentencepiece_like_tokens(make_model, metaspace_tokenizer, prompts, answers, naive) -> None:
    assert metaspace_tokenizer("B")["input_ids"] == metaspace_tokenizer(" B")["input_ids"]
    model = make_model("llama", metaspace_tokenizer)
    scores = LocalEngine(model, metaspace_tokenizer).score(prompts[:8], answers)
    expected = naive(model, metaspace_tokenizer, prompts[:8], answers, end=True)
    np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=0)


def test_answer_that_melts_into_the_prompt(make_model, piece_tokenizer) -> None:
    """Without a space between them, prompt and answer share a token, and the tokens written together count."""
    model = make_model("llama", piece_tokenizer)
    prompts, answers = ["The cell typ", "GENE1 The cell typ", "the other ce"], ["e", "o"]
    scores = LocalEngine(model, piece_tokenizer).score(prompts, answers)

    def plain(prompt: str, answer: str) -> float:
        before = piece_tokenizer(prompt)["input_ids"]
        joint = [piece_tokenizer(prompt + a)["input_ids"] for a in answers]
        n = next(i for i in range(99) if len({tuple(ids[: i + 1]) for ids in (before, *joint)}) > 1)
        ids = torch.tensor([joint[answers.index(answer)]])
        assert n < len(before) or prompt != prompts[0]
        with torch.no_grad():
            logp = model(input_ids=ids).logits[0].double().log_softmax(-1)
        return float(logp[range(n - 1, ids.shape[1] - 1), ids[0, n:]].sum())

    expected = [[plain(prompt, answer) for answer in answers] for prompt in prompts]
    np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("tokenizer", ["piece_tokenizer", "metaspace_tokenizer"])
def test_answers_are_read_behind_the_end_of_a_long_prompt(tokenizer, make_model, naive, request, monkeypatch) -> None:
    tokenizer = request.getfixturevalue(tokenizer)
    model = make_model("llama", tokenizer)
    engine = LocalEngine(model, tokenizer)
    prompts, answers = [" ".join(["GENE1 GENE2"] * n + ["The cell type is"]) for n in (20, 23)], [" B cell", " T cell"]
    read: list[str] = []
    tokenize = LocalEngine._tokenize
    monkeypatch.setattr(LocalEngine, "_tokenize", lambda self, texts: (read.extend(texts), tokenize(self, texts))[1])
    scores = engine.score(prompts, answers)
    assert max(len(text) for text in read if text not in prompts) < 60
    expected = naive(model, tokenizer, prompts, answers, end=False)
    np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=0)


def test_too_long_is_an_error(make_model, piece_tokenizer, answers) -> None:
    engine = LocalEngine(make_model("gpt2", piece_tokenizer, n_positions=48), piece_tokenizer)
    long, short = "GENE1 " * 60 + ":", "GENE1 :"
    with pytest.raises(ValueError, match=r"^1 of 2 prompts do not fit .* context of 48 tokens .* smaller n_genes\.$"):
        engine.score([short, long], answers)


def test_the_last_place_of_the_context_is_used(make_model, word_tokenizer, naive) -> None:
    model = make_model("gpt2", word_tokenizer, n_positions=12)
    engine = LocalEngine(model, word_tokenizer)
    label = [" Dendritic"]
    fits = " ".join(["GENE1"] * 12)
    np.testing.assert_allclose(
        engine.score([fits[:-6]], label), naive(model, word_tokenizer, [fits[:-6]], label, end=False), atol=1e-5
    )
    assert np.isfinite(engine.score([fits], label)).all()
    with pytest.raises(ValueError, match="context of 12 tokens"):
        engine.score([fits + " GENE2"], label)


def test_out_of_memory_halves_the_batch(make_model, piece_tokenizer, prompts, answers) -> None:
    model = make_model("llama", piece_tokenizer)
    expected = LocalEngine(model, piece_tokenizer).score(prompts, answers)
    forward, sizes = model.forward, []

    def small_memory(*args: Any, **kwargs: Any):
        if "past_key_values" not in kwargs:  # else the answers to what was read just before
            sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > 9:
            raise torch.OutOfMemoryError("no memory left")
        return forward(*args, **kwargs)

    engine = LocalEngine(model, piece_tokenizer, batch_size=32)
    engine.score(prompts[:1], answers)
    model.forward = small_memory
    np.testing.assert_allclose(engine.score(prompts, answers), expected, atol=1e-5, rtol=0)
    assert sizes == [32, 16, 8, 8, 8, 8, 8]


def test_out_of_memory_with_one_prompt(make_model, piece_tokenizer, prompts) -> None:
    model = make_model("llama", piece_tokenizer)

    def no_memory(*args: Any, **kwargs: Any):
        raise torch.OutOfMemoryError("no memory left")

    engine = LocalEngine(model, piece_tokenizer)
    model.forward = no_memory
    with pytest.raises(torch.OutOfMemoryError) as error:
        engine.score(prompts, [" a"])
    assert "shorter prompts" in error.value.__notes__[0]


def test_a_model_in_training_stays_in_training(make_model, piece_tokenizer, prompts, answers) -> None:
    model = make_model("gpt2", piece_tokenizer)
    expected = LocalEngine(model, piece_tokenizer).score(prompts, answers)
    model.train()
    np.testing.assert_allclose(LocalEngine(model, piece_tokenizer).score(prompts, answers), expected, atol=1e-5)
    assert model.training


def test_one_bar_or_none(make_model, piece_tokenizer, prompts, answers, capsys) -> None:
    model = make_model("llama", piece_tokenizer)
    LocalEngine(model, piece_tokenizer, quiet=True).score(prompts, answers)
    assert capsys.readouterr().err == ""
    LocalEngine(model, piece_tokenizer, batch_size=4).score(prompts, answers)
    assert "40/40" in capsys.readouterr().err


def test_nothing_to_score(make_model, piece_tokenizer) -> None:
    engine = LocalEngine(make_model("llama", piece_tokenizer), piece_tokenizer)
    assert engine.score([], [" a", " b"]).shape == (0, 2)
    with pytest.raises(ValueError, match="at least one answer"):
        engine.score(["A"], [])
    with pytest.raises(ValueError, match="write some text"):
        engine.score([""], [" a"])


def test_half_precision_stays_close(make_model, piece_tokenizer, prompts, answers) -> None:
    engine = LocalEngine(make_model("llama", piece_tokenizer).to(torch.bfloat16), piece_tokenizer)
    one, many = engine.score(prompts, answers, batch_size=1), engine.score(prompts, answers, batch_size=64)
    n_tokens = np.array([len(piece_tokenizer(a)["input_ids"]) + 1 for a in answers])
    assert (np.abs(one - many) / n_tokens).max() < 0.2


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_states_are_those_of_a_plain_pass(kind, make_model, piece_tokenizer, prompts) -> None:
    model = make_model(kind, piece_tokenizer)
    engine = LocalEngine(model, piece_tokenizer)
    states = engine.embed(prompts)
    with torch.no_grad():
        for prompt, state in zip(prompts, states, strict=True):
            ids = torch.tensor([engine._tokenize([prompt])[0].tolist()])
            out = model(input_ids=ids, output_hidden_states=True)
            np.testing.assert_allclose(state, out.hidden_states[-1][0, -1].numpy(), atol=1e-5)
    np.testing.assert_allclose(engine.embed(prompts[::-1], batch_size=1)[::-1], states, atol=1e-5)
    assert engine.embed([]).shape == (0, model.config.hidden_size)


WORDS = [*GENES, "GENE1A", "HLA-DRA", "B220%20(CD45R)"]


def _greedy(engine: LocalEngine, plain: Any, prompt: str, *, least: int, most: int) -> tuple[list[str], float]:
    n_before = len(engine.tokenizer(prompt, add_special_tokens=False)["input_ids"])
    joint = engine.tokenizer([f"{prompt} {word}" for word in WORDS], add_special_tokens=False)["input_ids"]
    items = [tuple(ids[n_before:]) for ids in joint]

    def logits_of(seen: list[int]) -> np.ndarray:
        with torch.no_grad():
            return engine.model(input_ids=torch.tensor([seen])).logits[0, -1].numpy()

    ids = engine.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    end = engine.tokenizer.eos_token_id
    found, total = plain(items, ids, logits_of, end=end, least=least, most=most)
    return [WORDS[i] for i in found], total


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "opt", "bloom", "gemma2"])
@pytest.mark.parametrize("words", ["word_tokenizer", "piece_tokenizer"])
def test_lists_equal_plain_passes(kind, words, make_model, prompts, plain, request) -> None:
    tokenizer = request.getfixturevalue(words)
    engine = LocalEngine(make_model(kind, tokenizer), tokenizer)
    some = [*prompts[:4], prompts[1]]
    most = np.array([3, 7, 5, 4, 6])
    lists = engine.generate(some, WORDS, max_items=most, min_items=2, sampling=Sampling(temperature=0))
    assert isinstance(engine, Writer)
    for prompt, n, one in zip(some, most, lists, strict=True):
        expected, total = _greedy(engine, plain, prompt, least=2, most=int(n))
        assert [WORDS[i] for i in one.items] == expected
        assert one.log_prob == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize(("temperature", "balanced"), [(0, False), (5, False), (5, True)])
def test_lists_do_not_depend_on_the_batch(temperature, balanced, make_model, piece_tokenizer, prompts) -> None:
    engine = LocalEngine(make_model("llama", piece_tokenizer), piece_tokenizer)
    some, seeds = [*prompts[:8], *prompts[:8]], np.arange(16) * 7
    how = {"max_items": 6, "sampling": Sampling(temperature=temperature), "balanced": balanced}
    together = engine.generate(some, WORDS, seeds=seeds, batch_size=64, **how)
    alone = engine.generate(some, WORDS, seeds=seeds, batch_size=1, **how)
    # Which place of its group a row has, and so what it draws, comes from the order among those with its prompt.
    order = np.argsort(np.random.default_rng(0).permutation(8)[np.arange(16) % 8], kind="stable")
    mixed = engine.generate([some[i] for i in order], WORDS, seeds=seeds[order], batch_size=5, **how)
    for i, one in enumerate(together):
        assert one.items.tolist() == alone[i].items.tolist() == mixed[list(order).index(i)].items.tolist()
        np.testing.assert_allclose(one.item_log_prob, alone[i].item_log_prob, atol=1e-4)
    same = [a.items.tolist() == b.items.tolist() for a, b in zip(together[:8], together[8:], strict=True)]
    assert all(same) if temperature == 0 else sum(same) < 4


def test_prompts_that_repeat_are_read_once(make_model, word_tokenizer, prompts, monkeypatch) -> None:
    engine = LocalEngine(make_model("llama", word_tokenizer), word_tokenizer)
    read: list[tuple[int, ...]] = []
    forward = Passes._forward

    def counted(self, ids, **inputs):
        read.append(tuple(ids.shape))
        return forward(self, ids, **inputs)

    monkeypatch.setattr(Passes, "_forward", counted)
    engine.generate([prompts[0]] * 6, WORDS, max_items=2, min_items=2, batch_size=6)
    assert read[0] == (1, len(prompts[0].split()) - 1)
    assert read[1] == (6, 1)


def test_lists_that_do_not_fit(make_model, piece_tokenizer, prompts) -> None:
    engine = LocalEngine(make_model("gpt2", piece_tokenizer), piece_tokenizer)
    with pytest.raises(ValueError, match="context of 256 tokens"):
        engine.generate(prompts, [f"LONGGENENAME{i}" for i in range(90)], max_items=80)
    with pytest.raises(ValueError, match="max_items"):
        engine.generate(prompts, WORDS, max_items=2, min_items=3)
    with pytest.raises(ValueError, match="'CD4 T' is not one word"):
        engine.generate(prompts, ["CD4 T"], max_items=2)
    assert engine.generate([], WORDS, max_items=2) == []


def test_a_batch_that_does_not_fit_into_memory_is_halved_while_writing(make_model, word_tokenizer, prompts) -> None:
    engine = LocalEngine(make_model("llama", word_tokenizer), word_tokenizer)
    expected = [one.items.tolist() for one in engine.generate(prompts[:8], WORDS, max_items=4)]
    write, sizes = engine.passes.write, []

    def tight(ids, *args, **kwargs):
        sizes.append(len(ids))
        if len(ids) > 2:
            raise torch.OutOfMemoryError("no")
        return write(ids, *args, **kwargs)

    engine.passes.write = tight
    assert [one.items.tolist() for one in engine.generate(prompts[:8], WORDS, max_items=4)] == expected
    assert sizes == [8, 4, 2, 2, 2, 2]
