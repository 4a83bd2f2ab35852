"""Scores: one function each, used by evaluations and tests alike."""

from __future__ import annotations

from .annotation import (
    HEADINGS,
    ChanceCalibration,
    annotation,
    annotation_by_label,
    annotation_table,
    chance_calibration_error,
    confusion,
    expected_calibration_error,
    paired,
    reliability,
)
from .baselines import annotation_baselines

__all__ = [
    "HEADINGS",
    "ChanceCalibration",
    "annotation",
    "annotation_baselines",
    "annotation_by_label",
    "annotation_table",
    "chance_calibration_error",
    "confusion",
    "expected_calibration_error",
    "paired",
    "reliability",
]
