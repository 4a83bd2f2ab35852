"""What every engine can do, whatever runs behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Engine(Protocol):
    """Text in, numbers out. A result depends on its prompt alone, never on batch, padding or order."""

    def score(self, prompts: Sequence[str], answers: Sequence[str], *, batch_size: int | None = None) -> np.ndarray:
        """Log-probability of every answer after every prompt (prompts × answers)."""
        ...
