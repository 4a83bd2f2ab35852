"""Answers that start at a linear read-out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sc_c2s.engine.local import LocalEngine
from sc_c2s.models import nano
from sc_c2s.training import probe
from sc_c2s.training.probe import fit_probe, place_answers, probe_cells


@pytest.fixture
def states() -> np.ndarray:
    """States of 90 cells with three answers, apart in their first two directions, around a mean that is not zero."""
    rng = np.random.default_rng(0)
    centres = np.array([[3.0, 0], [-3, 0], [0, 4]])[np.arange(90) % 3]
    return (np.pad(centres, ((0, 0), (0, 4))) + rng.normal(size=(90, 6)) + 2).astype(np.float32)


def test_the_probe_tells_answers_apart(states) -> None:
    codes = np.arange(90) % 3
    weights = fit_probe(states, codes)
    assert weights.shape == (3, 6)
    assert ((states @ weights.T).argmax(axis=1) == codes).mean() > 0.95


def test_two_answers_get_two_vectors(states) -> None:
    states, codes = states[np.arange(90) % 3 < 2], (np.arange(90) % 3)[np.arange(90) % 3 < 2]
    weights = fit_probe(states, codes)
    scores = states @ weights.T
    expected = LogisticRegression(C=probe.STRENGTH, fit_intercept=False).fit(states / states.std(axis=0).mean(), codes)
    proba = np.exp(scores - np.logaddexp(*scores.T)[:, None])
    np.testing.assert_allclose(proba, expected.predict_proba(states / states.std(axis=0).mean()), atol=1e-3)


def test_the_size_of_the_states_does_not_matter(states) -> None:
    codes = np.arange(90) % 3
    np.testing.assert_allclose(fit_probe(100 * states, codes) * 100, fit_probe(states, codes), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("writes", [False, True])
def test_the_model_answers_as_the_probe_does(writes) -> None:
    """Right behind its placement, the score of an answer is the probe's; what a word is read as stays where it differs."""
    genes, answers = [f"G{i}" for i in range(8)], [" A", " B", " C"]
    model, tokenizer = nano.build([":", "A", "B", "C", *genes], width=64, n_layers=1, n_heads=2, writes=writes)
    rng = np.random.default_rng(0)
    codes = np.arange(60) % 3
    # The answer decides which two of the genes are there; the others come and go.
    prompts = [
        " ".join([*rng.permutation([f"G{2 * code}", f"G{2 * code + 1}", *rng.choice(["G6", "G7"], 1)]), ":"])
        for code in codes
    ]
    before, read = (
        table.weight.detach().clone() for table in (model.get_output_embeddings(), model.get_input_embeddings())
    )
    place_answers(model, tokenizer, prompts, codes, answers)
    engine = LocalEngine(model, tokenizer, quiet=True)
    scores = engine.score(prompts, answers)
    assert (scores.argmax(axis=1) == codes).all()
    expected = engine.embed(prompts) @ fit_probe(engine.embed(prompts), codes).T
    np.testing.assert_allclose(scores - scores[:, :1], expected - expected[:, :1], atol=1e-4)
    changed = (model.get_output_embeddings().weight != before).any(dim=1).nonzero()[:, 0].tolist()
    assert changed == sorted(token for label in "ABC" for token in tokenizer(label)["input_ids"])
    assert torch.equal(model.get_input_embeddings().weight, read) == writes


def test_few_of_many_cells(monkeypatch) -> None:
    codes = np.zeros(1000, dtype=int)
    codes[[500, 900]] = 1, 2
    monkeypatch.setattr(probe, "MOST_CELLS", 30)
    chosen = probe_cells(codes, np.random.default_rng(0))
    assert len(chosen) == len(set(chosen)) == 30
    assert set(codes[chosen]) == {0, 1, 2}, "rare answers are among them"
    monkeypatch.setattr(probe, "MOST_CELLS", 30_000)
    np.testing.assert_array_equal(probe_cells(codes, np.random.default_rng(0)), range(1000))
