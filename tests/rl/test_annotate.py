"""Annotations are asked for, and judged, with rare labels in mind."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sc_c2s.rl import annotate
from sc_c2s.rl.annotate import RewardedAnnotating

LABELS = ["common", "rare"]


class Examples:
    lengths = np.arange(100)

    def row(self, cell: int, i: int) -> tuple[str, str]:
        return f"cell {cell}, variant {i}", ""


@pytest.fixture
def task() -> RewardedAnnotating:
    """Ninety common and ten rare cells to learn from; three and one to choose on."""
    return RewardedAnnotating(
        SimpleNamespace(
            labels=LABELS,
            learn_codes=np.repeat([0, 1], [90, 10]),
            check_codes=np.array([0, 0, 0, 1]),
            check_prompts=["a", "b", "c", "d"],
            answers=[" =common", " =rare"],
            plan=SimpleNamespace(family="nano"),
            rows=Examples,
        )
    )


def test_each_label_counts_alike(task, monkeypatch) -> None:
    right = np.array([0.9, 0.8, 0.4, 0.5])  # probabilities of the right label

    class Engine:
        def __init__(self, *args, **kwargs) -> None: ...

        def score(self, prompts, answers):
            return np.log(
                [[p, 1 - p] if code == 0 else [1 - p, p] for p, code in zip(right, (0, 0, 0, 1), strict=True)]
            )

    monkeypatch.setattr(annotate, "LocalEngine", Engine)
    monkeypatch.setattr(annotate, "fit_temperature", lambda *args: 1.0)
    scores = task.watch(None, None)
    expected = (np.log([0.9, 0.8, 0.4]).mean() + np.log(0.5)) / 2
    assert scores["log_prob"] == pytest.approx(expected)
    # The third is taken for rare; of two equal probabilities the first label is taken.
    assert scores["accuracy"] == pytest.approx(2 / 4)
    assert scores["macro_f1"] == pytest.approx((2 * 2 / (3 + 3) + 0) / 2)


def test_rare_labels_are_asked_about_more_often(task) -> None:
    numbers = task.draw(4000, 10, np.random.default_rng(0))
    share = (numbers >= 90).mean()
    assert share == pytest.approx(np.sqrt(10) / (np.sqrt(10) + np.sqrt(90)), abs=0.03)


def test_a_question_brings_what_the_reward_needs(task) -> None:
    asked = task.question(95, 7)
    assert asked == {"prompt": "cell 95, variant 7", "label": "rare", "labels": LABELS, "family": "nano"}
    reward = task.rewards["label_match"]
    assert reward([" =rare", " =common"], ["rare"] * 2, [LABELS] * 2, ["nano"] * 2) == [1, 0]
