"""The loss against one row at a time with every logit in sight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sc_c2s.training.loss import IGNORED, Choice, answer_loss, shares_loss
from sc_c2s.training.sft import Collator

N = 30
PAD = 0


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Prompts and answers of several lengths; no token stands twice in an answer."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(6):
        prompt, answer = rng.integers(1, N, size=rng.integers(2, 9)), rng.permutation(np.arange(10, 20))
        answer = answer[: rng.integers(1, 8)]
        made.append({"input_ids": [*prompt, *answer], "labels": [*[IGNORED] * len(prompt), *answer]})
    return made


def plain(model: Any, rows: list[dict[str, Any]], closed: list[int] | None, *, once: bool = False) -> tuple[float, int]:
    total, n = 0.0, 0
    for row in rows:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0].double()
        for position, target in enumerate(row["labels"]):
            if target == IGNORED:
                continue
            written = set(row["labels"][:position]) if once else set()
            allowed = [token for token in (range(N) if closed is None else closed) if token not in written]
            total -= float(logits[position - 1, target] - torch.logsumexp(logits[position - 1, allowed], 0))
            n += 1
    return total, n


@pytest.mark.parametrize(
    ("closed", "once"),
    [(None, False), (list(range(10, 20)), False), (list(range(10, 20)), True), ([*range(5, 25)], True)],
)
def test_the_loss_is_that_of_plain_passes(rows, make_llama, closed, once) -> None:
    model = make_llama(N)
    choice = None if closed is None else Choice(torch.tensor(closed), once=once)
    with torch.no_grad():
        total, n, output = answer_loss(model, Collator(PAD)(rows), choice)
    expected, count = plain(model, rows, closed, once=once)
    assert int(n) == count
    assert float(total) == pytest.approx(expected, rel=1e-5)
    longest = max(sum(label != IGNORED for label in row["labels"]) for row in rows)
    assert output.logits.shape[1] == longest + 1, "the head ran on the answers only"


def test_some_places_stand_for_all(rows, make_llama) -> None:
    """Evenly spaced in an evaluation; drawn in training, right on average."""
    model = make_llama(N)
    batch = Collator(PAD)([row for row in rows for _ in range(3)])
    closed = torch.arange(10, 20)
    few = Choice(closed, once=True, most=2 * len(batch["labels"]))
    with torch.no_grad():
        whole, n, _ = answer_loss(model.eval(), batch, Choice(closed, once=True))
        first, again = (answer_loss(model, batch, few) for _ in range(2))
        assert float(first[0]) == float(again[0])
        assert first[2].logits.shape[1] == 2
        assert int(first[1]) == int(n)
        model.train()
        torch.manual_seed(0)
        drawn = np.array([float(answer_loss(model, batch, few)[0]) for _ in range(300)])
    assert drawn.std() > 0
    assert drawn.mean() == pytest.approx(float(whole), rel=0.1)


def test_shares_are_told_behind_the_prompt(make_llama) -> None:
    model = make_llama(N)
    rng = np.random.default_rng(1)
    words = torch.tensor([17, 3, 11])
    rows = [
        {"input_ids": list(rng.integers(1, N, size=n)), "labels": [IGNORED] * n, "shares": rng.dirichlet(np.ones(3))}
        for n in (3, 8, 5)
    ]
    total, n, _ = shares_loss(model, Collator(PAD)(rows), Choice(words, shares=True))
    wanted = 0.0
    for row in rows:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, -1, words].double()
        wanted -= float((torch.from_numpy(row["shares"]) * torch.log_softmax(logits, 0)).sum())
    assert int(n) == 3
    assert float(total.detach()) == pytest.approx(wanted, rel=1e-5)
