from __future__ import annotations

import numpy as np
import pytest
import torch

from sc_c2s.engine import LocalEngine, Sampling, Speaker
from sc_c2s.engine.speech import as_text, speak

TEMPLATE = "{% for turn in messages %}<{{ turn['role'] }}>{{ turn['content'] }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def engine(make_llama, piece_tokenizer) -> LocalEngine:
    return LocalEngine(make_llama(len(piece_tokenizer)), piece_tokenizer, quiet=True)


def test_a_local_engine_speaks(engine):
    assert isinstance(engine, Speaker)


def test_greedy_is_what_transformers_generates(engine):
    text = "GENE1 GENE2 GENE3"
    ids = engine.tokenizer(as_text(asked(text), engine.tokenizer), return_tensors="pt")["input_ids"]
    expected = engine.model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    said = engine.tokenizer.decode(expected, skip_special_tokens=True).strip()
    assert engine.chat([asked(text)], max_tokens=12) == [said]


def test_a_batch_says_what_each_would_alone(engine):
    conversations = [asked(" ".join(f"GENE{i}" for i in range(n))) for n in (1, 7, 30, 3, 12)]
    seeds = np.arange(5) + 100
    for sampling in (None, Sampling(temperature=1.0), Sampling(temperature=0.7, top_p=0.9)):
        together = engine.chat(conversations, max_tokens=9, sampling=sampling, seeds=seeds)
        alone = [
            engine.chat([one], max_tokens=9, sampling=sampling, seeds=[seed])[0]
            for one, seed in zip(conversations, seeds, strict=True)
        ]
        assert together == alone
        assert engine.chat(conversations[::-1], max_tokens=9, sampling=sampling, seeds=seeds[::-1]) == together[::-1]


def test_seeds_decide_what_is_drawn(engine):
    drawn = Sampling(temperature=1.0)
    first, again, other = (
        engine.chat([asked("GENE1")], max_tokens=20, sampling=drawn, seeds=[seed])[0] for seed in (1, 1, 2)
    )
    assert first == again != other


class Scripted:
    """A model that says fixed probabilities whatever it reads."""

    def __init__(self, probabilities: list[float], n_rows: int) -> None:
        self.logits = torch.tensor(probabilities).log().repeat(n_rows, 1)

    def read(self, tokens: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        return self.logits[: len(tokens)]

    def keep(self, rows: torch.Tensor) -> None:
        self.logits = self.logits[rows]


def test_tokens_come_as_often_as_they_are_probable():
    n = 20_000
    said = speak(
        Scripted([0.5, 0.3, 0.2], n),
        np.zeros(n),
        most=1,
        ends={9},
        sampling=Sampling(),
        seeds=np.arange(n, dtype=np.uint64),
    )
    share = np.bincount([row[0] for row in said], minlength=3) / n
    assert np.allclose(share, [0.5, 0.3, 0.2], atol=4 * 0.5 / n**0.5)


def test_an_answer_stops_at_its_end_token_and_others_go_on():
    said = speak(
        Scripted([0.5, 0.5], 200),
        np.zeros(200),
        most=6,
        ends={1},
        sampling=Sampling(),
        seeds=np.arange(200, dtype=np.uint64),
    )
    lengths = np.array([len(row) for row in said])
    assert all(set(row) <= {0} for row in said)
    assert (lengths == 0).any() and (lengths == 6).any()
    # A geometric distribution, cut at six.
    assert abs(lengths.mean() - sum(0.5**k for k in range(1, 7))) < 0.3


def test_the_template_of_the_tokenizer_is_used(piece_tokenizer):
    turns = [{"role": "system", "content": "be brief"}, *asked("what?")]
    assert as_text(turns, piece_tokenizer) == "be brief\n\nwhat?\n\n"
    piece_tokenizer.chat_template = TEMPLATE
    try:
        assert as_text(turns, piece_tokenizer) == "<system>be brief\n<user>what?\n<assistant>"
    finally:
        piece_tokenizer.chat_template = None


def test_special_tokens_that_a_template_writes_stand_once(make_llama, metaspace_tokenizer, piece_tokenizer):
    for tokenizer in (metaspace_tokenizer, piece_tokenizer):
        engine = LocalEngine(make_llama(len(tokenizer)), tokenizer, quiet=True)
        engine._lead = [tokenizer.bos_token_id]
        [with_lead, without] = engine._tokenize(["<s>GENE1", "GENE1"])
        assert list(with_lead).count(tokenizer.bos_token_id) == 1
        assert list(without).count(tokenizer.bos_token_id) == 1


def test_what_does_not_fit_is_refused_before_it_is_read(engine):
    long = asked("GENE1 " * engine.context)
    with pytest.raises(ValueError, match="do not fit into the model's context"):
        engine.chat([long], max_tokens=4)
    with pytest.raises(ValueError, match="max_tokens=0"):
        engine.chat([asked("GENE1")], max_tokens=0)


def test_a_conversation_ends_with_the_user(engine):
    with pytest.raises(ValueError, match="end with a turn of the user"):
        engine.chat([[{"role": "assistant", "content": "hello"}]], max_tokens=4)


def test_tokens_are_counted(engine):
    texts = ["GENE1", "GENE1 GENE2 GENE3"]
    assert engine.count(texts).tolist() == [len(engine.tokenizer(text)["input_ids"]) for text in texts]
