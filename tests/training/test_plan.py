"""What is trained where nothing was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from sc_c2s.training.plan import NANO_BATCH, NANO_RATE, PRETRAINED_BATCH, make_plan


@dataclass
class Start:
    """As much of a start as a plan asks for."""

    small: bool
    rate: float | None
    family: str = "english"


NANO, ADAPTER = Start(small=True, rate=None), Start(small=False, rate=3e-4)


@pytest.mark.parametrize(
    ("start", "asked", "rate", "rows"),
    [
        (NANO, {}, NANO_RATE, NANO_BATCH),
        (ADAPTER, {}, 3e-4, PRETRAINED_BATCH),
        (ADAPTER, {"tasks": ("generate",)}, 3e-4, PRETRAINED_BATCH),
        (NANO, {"learning_rate": 0.1, "batch_size": 5}, 0.1, 5),
        (ADAPTER, {"learning_rate": 0.1, "batch_size": 5}, 0.1, 5),
    ],
)
def test_rate_and_rows_of_a_step(start: Any, asked: dict[str, Any], rate: float, rows: int) -> None:
    settings = make_plan(start, n_train=100, organism=None, seed=0, **asked).settings
    assert (settings.learning_rate, settings.batch_size) == (rate, rows)
