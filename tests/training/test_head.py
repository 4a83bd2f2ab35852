"""Where the vectors that genes are written with start."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sc_c2s.models import nano
from sc_c2s.training.head import _shortest, fit_head
from sc_c2s.training.loss import Choice, answer_loss
from sc_c2s.training.sft import Collator, tokenise

GENES = [f"G{i}" for i in range(12)]
WEIGHTS = np.stack([np.linspace(2, -2, 12), np.linspace(-2, 2, 12)])
"""Logarithm of how often two kinds of cells have a gene."""


def rows(n: int, seed: int = 0) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Genes drawn by their weight, without putting any back."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(n) % 2
    drawn = [np.argsort(-(WEIGHTS[kind] + rng.gumbel(size=12)))[: rng.integers(2, 9)] for kind in kinds]
    return [
        (f"={kind} <cell>", "".join(f" G{i}" for i in genes)) for kind, genes in zip(kinds, drawn, strict=True)
    ], kinds


@pytest.fixture
def model():
    vectors = {
        gene: np.concatenate([np.zeros(32), np.random.default_rng(i).normal(size=95) * 0.08, [0.6]])
        for i, gene in enumerate(GENES)
    }
    for kind in range(2):
        vectors[f"={kind}"] = np.zeros(128)
        vectors[f"={kind}"][[kind, nano.IS_CONDITION]] = np.sqrt(0.5)
    vectors["<cell>"] = np.zeros(128)
    vectors["<cell>"][[nano.IS_BEGIN, -1]] = np.sqrt(0.5)
    return nano.build(list(vectors), embeddings=vectors, writes=True)


def test_it_starts_near_the_best_there_is(model) -> None:
    network, tokenizer = model
    pairs, kinds = rows(600)
    collate = Collator(tokenizer.pad_token_id)
    ids = torch.tensor([tokenizer(f"x {gene}")["input_ids"][-1] for gene in GENES])
    read = network.get_input_embeddings().weight.detach().clone()
    others = np.setdiff1d(np.arange(len(tokenizer)), ids)
    told = network.get_output_embeddings().weight[others].detach().clone()
    batches = [collate(tokenise(tokenizer, pairs[i : i + 50], closing=False)) for i in range(0, 600, 50)]
    shuffle = np.random.default_rng(0).permutation(12)  # tokens need not come in order
    fit_head(network, batches, ids[shuffle], kinds=kinds, log_means=WEIGHTS[:, shuffle])
    assert torch.equal(network.get_input_embeddings().weight, read)
    assert torch.equal(network.get_output_embeddings().weight[others], told)

    fresh, fresh_kinds = rows(400, seed=1)
    choice = Choice(ids.sort().values, once=True)
    with torch.no_grad():
        total, n, _ = answer_loss(network, collate(tokenise(tokenizer, fresh, closing=False)), choice)
    best = count = 0.0
    for (_, answer), kind in zip(fresh, fresh_kinds, strict=True):
        left = np.exp(WEIGHTS[kind])
        for gene in (int(word[1:]) for word in answer.split()):
            best, count = best - np.log(left[gene] / left.sum()), count + 1
            left[gene] = 0
    assert int(n) == count
    assert best / count < float(total) / count < best / count + 0.03


def test_at_the_end_genes_are_expected_as_often_as_they_are_there(model) -> None:
    network, tokenizer = model
    pairs, kinds = rows(600)
    collate = Collator(tokenizer.pad_token_id)
    ids = torch.tensor([tokenizer(f"x {gene}")["input_ids"][-1] for gene in GENES])
    batches = [collate(tokenise(tokenizer, pairs[i : i + 50], closing=False)) for i in range(0, 600, 50)]
    with torch.no_grad():
        network.get_output_embeddings().weight[ids] += torch.randn(12, 128, generator=torch.manual_seed(0)) * 0.05

    def off() -> float:
        """Share of the genes that are expected where others are."""
        expected, there = np.zeros((2, 12)), np.zeros((2, 12))
        for i, batch in enumerate(batches):
            read = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
            with torch.no_grad():
                logits = network(**read).logits[:, :-1, ids]
            labels = batch["labels"][:, 1:, None]
            is_gene = labels == ids
            written = is_gene.cumsum(dim=1) - is_gene.int() > 0
            share = logits.masked_fill(written, -torch.inf).softmax(dim=2) * is_gene.any(dim=2, keepdim=True)
            for row, kind in enumerate(kinds[50 * i : 50 * i + 50]):
                expected[kind] += share[row].sum(dim=0).numpy()
                there[kind] += is_gene[row].sum(dim=0).numpy()
        return float(np.abs(expected - there).sum() / 2 / there.sum())

    before = off()
    fit_head(network, batches, ids)
    assert off() < 0.05 < 0.4 < before


def test_the_beginning_gives_the_log_means() -> None:
    rng = np.random.default_rng(0)
    states, kinds = rng.normal(size=(300, 20)) + 3 * np.eye(4, 20)[np.arange(300) % 4], np.arange(300) % 4
    log_means = rng.normal(size=(4, 9))
    weights = _shortest(states, kinds, log_means)
    means = np.stack([states[kinds == kind].mean(axis=0) for kind in range(4)])
    np.testing.assert_allclose(means @ weights.T, log_means, atol=1e-9)
    assert np.linalg.matrix_rank(weights) == 4
