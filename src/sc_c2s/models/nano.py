"""The embedded default model: a small decoder with one token per gene, built from the user's own genes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

PAD, END = "<pad>", "</s>"
N_RESERVED = 64
WIDTH, N_LAYERS, N_HEADS = 128, 2, 4
MAX_POSITIONS = 8192
ORDER = 0.3
"""How strongly a nano starts to read in which order genes stand, beside which genes are there at all."""
CONDITIONS = WIDTH // N_HEADS - 2
"""Leading dimensions that only conditions use; the first attention head of a nano that writes hands them on."""
IS_CONDITION, IS_BEGIN = CONDITIONS, CONDITIONS + 1
"""Dimensions that tell a condition, and the word that a cell begins with, from all other words."""
SPACE = "Ġ"
"""How byte-level tokenizers write the space in front of a word."""


def build_tokenizer(words: Iterable[str], *, n_reserved: int = N_RESERVED) -> PreTrainedTokenizerFast:
    """Make a tokenizer with one token for each word, and bytes for every other text.

    A byte-pair model without merges takes a known word whole and spells any other word in bytes, so no text is
    ever lost in an unknown token. Reserved tokens wait for words that come later (:func:`add_words`).

    Parameters
    ----------
    words
        Gene names, labels and prompt words, none with white space in it.
    n_reserved
        Number of tokens kept free.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    spelled = [_spell(word) for word in dict.fromkeys(words)]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    reserved = [_reserved(i) for i in range(n_reserved)]
    vocabulary = list(dict.fromkeys([PAD, END, *alphabet, *reserved, *spelled]))
    core = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(vocabulary)}, merges=[], ignore_merges=True))
    core.normalizer = normalizers.Prepend(" ")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(" ", behavior="merged_with_next"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=END,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        # A label may read like the end token; only the trainer writes that one, by its number.
        split_special_tokens=True,
        model_max_length=MAX_POSITIONS,
    )


def build(
    words: Sequence[str],
    *,
    width: int = WIDTH,
    n_layers: int = N_LAYERS,
    n_heads: int = N_HEADS,
    embeddings: dict[str, np.ndarray] | None = None,
    writes: bool = False,
    seed: int = 0,
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Make an untrained model and its tokenizer.

    Parameters
    ----------
    words
        Gene names, labels and prompt words, each of which becomes one token.
    width, n_layers, n_heads
        Size of the decoder: hidden width, number of layers, attention heads per layer.
    embeddings
        Where each of these words starts: vectors of at most ``width`` numbers, scaled to the size of random
        ones; the others start at random.
    writes
        Whether it is to write genes as well as to read them: words then have other vectors where they are written, and
        one attention head starts with its eyes on the condition.
    seed
        Seed of the random start.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = build_tokenizer(words)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=not writes,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        _let_through(model, turned=not writes)
        if writes:
            _attend_to_condition(model)
    if embeddings:
        _start_at(model, tokenizer, embeddings)
    return model, tokenizer


def add_words(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, words: Iterable[str]) -> list[str]:
    """Give every word that is not yet one token a token of its own, in place.

    Reserved tokens are used up first, so the weights keep their shape; only then the vocabulary grows.

    Returns
    -------
    The words that were new.
    """
    import torch

    new = new_words(tokenizer, words)
    if not new:
        return []
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    free = [token for i in range(N_RESERVED) if (token := _reserved(i)) in vocabulary]
    for word in new:
        vocabulary[_spell(word)] = vocabulary.pop(free.pop(0)) if free else len(vocabulary)
    tokenizer._tokenizer = type(tokenizer.backend_tokenizer).from_str(json.dumps(state))
    tokenizer._tokenizer.encode_special_tokens = True
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return new


def new_words(tokenizer: PreTrainedTokenizerFast, words: Iterable[str]) -> list[str]:
    """Words that have no token of their own yet."""
    known = tokenizer.get_vocab()
    return [word for word in dict.fromkeys(words) if _spell(word) not in known]


def is_nano(tokenizer: object) -> bool:
    """Whether a tokenizer is one of :func:`build_tokenizer`: new words can be added to it."""
    vocabulary: dict[str, int] = getattr(tokenizer, "get_vocab", dict)()
    return _reserved(N_RESERVED - 1) in vocabulary or (PAD in vocabulary and SPACE + "</cell>" in vocabulary)


def writes(model: LlamaForCausalLM) -> bool:
    """Whether a nano has vectors for writing genes."""
    return not model.config.tie_word_embeddings


def _attend_to_condition(model: LlamaForCausalLM) -> None:
    """Let the first head of each layer look at the condition, from wherever it stands.

    A mean over all words would count the condition for less with every gene. The last dimension, which all words but
    conditions have, asks; the dimension that conditions alone have answers. Both are put where rotary position embeddings
    turn slowest, so that the distance does not matter.
    """
    import torch

    n = model.config.hidden_size // model.config.num_attention_heads
    slowest = n // 2 - 1
    with torch.no_grad():
        for layer in model.model.layers:
            attention = layer.self_attn
            attention.q_proj.weight[:n] = 0
            attention.k_proj.weight[:n] = 0
            attention.q_proj.weight[slowest, -1] = 1
            attention.k_proj.weight[slowest, IS_CONDITION] = 2


def _let_through(model: LlamaForCausalLM, *, turned: bool = True) -> None:
    r"""Start with layers that hand on the mean of what they see, unchanged.

    Queries and keys start small, so that every word before is seen alike. What the value matrix turns, the output
    matrix turns back (an orthogonal matrix and its transpose), and the feed-forward part starts by adding nothing. One
    layer then gives each word the mean :math:`m_i` of the gene vectors up to there; the second adds the mean of those
    means. In it the gene of rank :math:`r` among :math:`n` weighs

    .. math:: \frac{1}{n} \sum_{i=r}^{n} \frac{1}{i} \approx \frac{1}{n} \log\frac{n}{r},

    but for the scaling of each :math:`m_i` to one length: close to what expression does with rank (Zipf). The last
    state is the first and 0.3 of the second, and a linear read-out of it a linear model of the genes and their ranks.
    Of presence and order, now the one carries over to other data, now the other. Without the turn, each head hands on
    dimensions of its own.
    """
    import torch

    with torch.no_grad():
        for depth, layer in enumerate(model.model.layers):
            attention = layer.self_attn
            if turned:
                torch.nn.init.orthogonal_(attention.v_proj.weight)
            else:
                torch.nn.init.eye_(attention.v_proj.weight)
            attention.o_proj.weight.copy_(attention.v_proj.weight.T * ORDER**depth)
            layer.mlp.down_proj.weight.zero_()


def _start_at(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, embeddings: dict[str, np.ndarray]) -> None:
    import numpy as np
    import torch

    weight = model.get_input_embeddings().weight
    known = tokenizer.get_vocab()
    ids = [known[_spell(word)] for word in embeddings]
    values = np.stack(list(embeddings.values()))[:, : weight.shape[1]].astype(np.float32)
    values *= model.config.initializer_range / max(float(values.std()), 1e-12)
    with torch.no_grad():
        weight[ids, : values.shape[1]] = torch.from_numpy(values)


def _reserved(i: int) -> str:
    return f"{SPACE}<|reserved_{i}|>"


def _spell(word: str) -> str:
    """Write a word the way the byte-level vocabulary holds it."""
    from tokenizers import pre_tokenizers

    if not word or word != "".join(word.split()):
        raise ValueError(f"{word!r} is not one word: quote its white space first.")
    [(spelled, _)] = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(f" {word}")
    return spelled
