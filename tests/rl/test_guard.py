"""A reward that is won by other means than the cells."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sc_c2s.rl.guard import Guard


def verdicts(rewards: list[float], scores: list[float], **how: object) -> list[bool]:
    guard = Guard(("score",), **{"tolerance": 0.05, "patience": 2, **how})
    return [guard.see(reward, {"score": score}) is not None for reward, score in zip(rewards, scores, strict=True)]


def test_a_reward_that_rises_while_the_score_falls_is_stopped_after_patience() -> None:
    assert verdicts([0.1, 0.3, 0.5, 0.7], [0.8, 0.7, 0.6, 0.5]) == [False, False, True, True]


@pytest.mark.parametrize(
    ("rewards", "scores"),
    [
        ([0.1, 0.3, 0.5, 0.7], [0.5, 0.6, 0.7, 0.8]),  # both rise
        ([0.7, 0.5, 0.3, 0.1], [0.8, 0.7, 0.6, 0.5]),  # both fall: not the reward's doing
        ([0.1, 0.3, 0.5, 0.7], [0.8, 0.78, 0.76, 0.78]),  # a fall within the tolerance
        ([0.1, 0.3, 0.5, 0.7], [0.8, 0.5, 0.81, 0.5]),  # never twice in a row
    ],
)
def test_what_is_no_hack_goes_on(rewards, scores) -> None:
    assert verdicts(rewards, scores) == [False] * 4


def test_a_rise_that_may_be_chance_is_none() -> None:
    guard = Guard(("score",), patience=1)
    assert guard.see(0.1, {"score": 0.9}, error=0.1) is None
    assert guard.see(0.3, {"score": 0.5}, error=0.1) is None, "two standard errors of the difference are 0.28"
    assert guard.see(0.4, {"score": 0.5}, error=0.1) is not None


def test_one_of_several_scores_is_enough() -> None:
    guard = Guard(("size", "order"), patience=1)
    assert guard.see(0.1, {"size": 0.9, "order": 0.5}) is None
    assert "size fell from 0.9 to 0.2" in guard.see(0.2, {"size": 0.2, "order": 0.6})


def test_large_scores_are_compared_by_their_share() -> None:
    assert verdicts([0, 1, 2], [-100, -104, -104]) == [False, False, False]
    assert verdicts([0, 1, 2], [-100, -106, -106]) == [False, False, True]


def test_the_trainer_is_told_to_stop() -> None:
    guard, control = Guard(("score",), patience=1), SimpleNamespace(should_training_stop=False)
    state = SimpleNamespace(log_history=[{"reward": 0.1}], global_step=1)
    guard.on_evaluate(None, state, control, metrics={"eval_score": 0.9})
    assert not control.should_training_stop
    state.log_history.append({"reward": 0.4})
    guard.on_evaluate(None, state, control, metrics={"eval_score": 0.3})
    assert control.should_training_stop
    assert guard.reason == "the reward rose from 0.1 to 0.4 while score fell from 0.9 to 0.3"


def test_what_was_seen_before_a_kill_stays_seen() -> None:
    import json

    guard = Guard(("score",), tolerance=0.1, patience=2)
    guard.see(0.1, {"score": 0.9})
    assert guard.see(0.2, {"score": 0.5}) is None
    kept = json.loads(json.dumps(guard.state()))
    again = Guard(**kept["args"])
    for name, value in kept["attributes"].items():
        setattr(again, name, value)
    assert again.see(0.3, {"score": 0.5}) is not None
