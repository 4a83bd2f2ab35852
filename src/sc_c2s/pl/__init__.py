"""Plots."""

from __future__ import annotations

from ._calibration import calibration
from ._confusion import confusion
from ._rank_fit import rank_fit
from ._sentence import sentence
from ._training import training

__all__ = ["calibration", "confusion", "rank_fit", "sentence", "training"]
