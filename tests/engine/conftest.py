"""Tiny models with random weights, and tokenizers that cut words in different ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast, set_seed
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

GENES = [f"GENE{i}" for i in range(40)]
LABELS = ["CD4 T", "CD4 T naive", "CD4 T naive/memory", "B, memory", "CD14+/CD16+ Mono", "Dendritic"]
SPECIAL = ["<pad>", "<s>", "</s>"]

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "gpt_neox": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    "gemma2": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "sliding_window": 16,
    },
    "opt": {
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
    },
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
}


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="session")
def word_tokenizer() -> PreTrainedTokenizerFast:
    """One token a gene or a quoted label; any other word falls back to bytes."""
    words = [*GENES, "<cell>", "</cell>", "cell%20type", ":", *[label.replace(" ", "%20") for label in LABELS]]
    pieces = [*SPECIAL, *pre_tokenizers.ByteLevel.alphabet(), *[f"Ġ{word}" for word in words]]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges=[], ignore_merges=True))
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(" ", "merged_with_next"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return wrap(tokenizer)


@pytest.fixture(scope="session")
def piece_tokenizer(train_pieces: Callable[[list[str]], Tokenizer]) -> PreTrainedTokenizerFast:
    """Sub-words: a label has many tokens and shares the first ones with others."""
    return wrap(train_pieces(SPECIAL))


@pytest.fixture(scope="session")
def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """Marks the start of a text like a space, as SentencePiece does: an answer alone is cut otherwise."""
    tokenizer = Tokenizer(models.BPE(unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False)
    texts = [f"<cell> {gene} {label} </cell> cell%20type :" for gene in GENES for label in LABELS]
    tokenizer.train_from_iterator(texts, trainer)
    return wrap(tokenizer)


@pytest.fixture(scope="session")
def closing_tokenizer(train_pieces: Callable[[list[str]], Tokenizer]) -> PreTrainedTokenizerFast:
    """Puts ``<s>`` before and ``</s>`` behind every text, which would end a prompt before its answer."""
    tokenizer = train_pieces(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return wrap(tokenizer)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., PreTrainedModel]:
    def make(kind: str, tokenizer: PreTrainedTokenizerFast, **config: Any) -> PreTrainedModel:
        set_seed(0)
        settings = ARCHITECTURES[kind] | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2} | config
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](vocab_size=len(tokenizer), **settings))
        with torch.no_grad():  # weights of a fresh model are so small that attention hardly matters
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(8)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def prompts() -> list[str]:
    """Cells of different length, so that batches need padding."""
    rng = np.random.default_rng(0)
    cells = [" ".join(rng.permutation(GENES)[: rng.integers(1, 20)]) for _ in range(40)]
    return [f"<cell> {cell} </cell> cell%20type :" for cell in cells]


@pytest.fixture(scope="session")
def answers() -> list[str]:
    """Labels as they are: many tokens each."""
    return [f" {label}" for label in LABELS]


def reference(model: PreTrainedModel, tokenizer: Any, prompt: str, answer: str, *, end: bool) -> float:
    """Log-probability of one answer by one plain pass, with every logit in sight."""
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    both = tokenizer(prompt + answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * end
    assert both[: len(before)] == before
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([both])).logits[0].double()
    said = logits.log_softmax(-1)[torch.arange(len(both) - 1), torch.tensor(both[1:])]
    return float(said[len(before) - 1 :].sum())


@pytest.fixture(scope="session")
def naive() -> Callable[..., np.ndarray]:
    def score(
        model: PreTrainedModel, tokenizer: Any, prompts: list[str], answers: list[str], *, end: bool
    ) -> np.ndarray:
        return np.array([[reference(model, tokenizer, p, a, end=end) for a in answers] for p in prompts])

    return score


def plain_list(
    items: list[tuple[int, ...]],
    prompt: Sequence[int],
    logits_of: Callable[[list[int]], np.ndarray],
    *,
    end: int,
    least: int,
    most: int,
) -> tuple[list[int], float]:
    """Write greedily, one token at a time, by the rules alone; gives the items and their log-probability."""
    seen, done, current, total = list(prompt), [], (), 0.0
    while True:
        finished = [i for i, item in enumerate(items) if item == current and i not in done]
        border = not current or bool(finished)
        after = [*done, *finished]
        free = [item for i, item in enumerate(items) if i not in done]
        inner = {item[len(current)] for item in free if current and item[: len(current)] == current != item}
        begin = {item[0] for i, item in enumerate(items) if i not in after} if border else set()
        stop = border and (len(after) >= least or not (begin or inner))
        logits = np.array(logits_of(seen), dtype=np.float64)
        if finished and len(after) >= most:
            logits[end] = np.logaddexp.reduce([logits[t] for t in {*begin, end}])
            begin, stop = set(), True
        allowed = sorted({*inner, *begin, *([end] if stop else [])})
        token = max(allowed, key=lambda t: logits[t])
        total += logits[token] - np.logaddexp.reduce(logits[allowed])
        if token not in inner and finished:
            done, current = after, ()
        if token == end and token not in inner:
            return done, total
        current = (*current, token)
        seen.append(token)
        # A name that cannot go on is done, and with the last one the list is.
        whole = [i for i, item in enumerate(items) if item == current and i not in done]
        longer = [i for i, item in enumerate(items) if i not in done and item[: len(current)] == current != item]
        if whole and not longer:
            done, current = [*done, *whole], ()
            if len(done) >= most:
                return done, total


@pytest.fixture(scope="session")
def plain() -> Callable[..., tuple[list[int], float]]:
    return plain_list
