"""The order of questions."""

from __future__ import annotations

import numpy as np

from sc_c2s.rl.questions import STEPS, alike


def test_steps_hold_questions_of_like_length_in_any_order_of_steps() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.permutation(1000)
    numbers = rng.integers(0, 1000, 4 * STEPS * 5)
    ordered = alike(numbers, lengths, size=5, rng=rng)
    stretch = STEPS * 5
    for start in range(0, len(numbers), stretch):
        part = slice(start, start + stretch)
        assert sorted(ordered[part]) == sorted(numbers[part]), "every question is asked, in its stretch"
        steps = lengths[ordered[part]].reshape(-1, 5)
        by_length = steps[np.argsort(steps[:, 0], kind="stable")]
        assert (np.diff(by_length.ravel()) >= 0).all(), "no step lies within another one"
    assert (lengths[ordered].reshape(-1, 5)[:STEPS, 0] != np.sort(lengths[ordered].reshape(-1, 5)[:STEPS, 0])).any()
