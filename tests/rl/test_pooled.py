"""Answers that are one estimate together."""

from __future__ import annotations

import numpy as np
import pytest

from sc_c2s.rl import rewards
from sc_c2s.rl.pooled import Pooled


def n_different(completions, n_asked, **columns):
    """Share of different words among those asked for: not additive, so that parts differ from rewards of single answers."""
    return [len(set(text.split())) / n for text, n in zip(completions, n_asked, strict=True)]


def test_each_answer_gets_its_part() -> None:
    found = Pooled(n_different)(["a a", "a b", "a a"], [2, 2, 2], prompts=["p"] * 3)
    whole, without = 2 / 6, [2 / 4, 1 / 4, 2 / 4]
    assert found == pytest.approx([whole + 2 * (whole - part) for part in without])
    assert found[1] > found[0] == found[2]


def test_groups_do_not_mix_and_order_does_not_count() -> None:
    texts, prompts = ["a b", "c c", "a a", "c d"], ["p", "q", "p", "q"]
    mixed = Pooled(n_different)(texts, [2] * 4, prompts=prompts)
    alone = [Pooled(n_different)(texts[i::2], [2] * 2, prompts=prompts[i::2]) for i in (0, 1)]
    assert mixed == [alone[0][0], alone[1][0], alone[0][1], alone[1][1]]


def test_an_answer_by_itself_gets_the_reward() -> None:
    assert Pooled(n_different)(["a b"], [2], prompts=["p"]) == n_different(["a b"], [2])


def test_columns_go_with_their_rows_and_the_state_to_all() -> None:
    seen = {}

    def reward(completions, n_asked, *, kind, trainer_state, prompts, **columns):
        seen.update(kind=kind, state=trainer_state, prompts=prompts)
        return [None if one == "none" else 1.0 for one in kind]

    kinds = ["none", "some", "some", "none"]
    columns = {"kind": kinds, "trainer_state": "running", "completion_ids": [[1]] * 4}
    found = Pooled(reward)(["a"] * 4, [1] * 4, prompts=["p", "q", "q", "p"], **columns)
    assert found == [None, 1.0, 1.0, None]
    assert seen == {"kind": ["none"] * 3 + ["some"] * 3, "state": "running", "prompts": ["p"] * 3 + ["q"] * 3}


def test_pooled_draws_are_not_paid_for_being_narrow() -> None:
    """Single draws of the true shares earn less than a single word over and over; their parts, together, earn more."""
    rng = np.random.default_rng(0)
    genes = [f"G{i}" for i in range(30)]
    change = np.linspace(1.0, 0.4, 30)
    columns = {
        "genes": genes,
        "change": [change] * 16,
        "control": [np.ones(30)] * 16,
        "reference": np.ones(30),
        "scale": change.sum(),
    }
    true = [" ".join("+" + g for g in rng.choice(genes, 10, p=change / change.sum())) for _ in range(16)]
    narrow = [" ".join(["+G0"] * 2 + ["="] * 8)] * 16
    asked, prompts = [10] * 16, ["p"] * 16
    single = [np.mean(rewards.r2_delta(texts, asked, **columns)) for texts in (true, narrow)]
    pooled = [np.mean(Pooled(rewards.r2_delta)(texts, asked, prompts=prompts, **columns)) for texts in (true, narrow)]
    assert single[0] < single[1]
    assert pooled[0] > pooled[1]
