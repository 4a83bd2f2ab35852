"""Plots."""

from __future__ import annotations

from ._calibration import calibration
from ._confusion import confusion
from ._generated_distributions import generated_distributions
from ._generated_embedding import generated_embedding
from ._generated_fold_changes import generated_fold_changes
from ._generated_means import generated_means
from ._generation import generation
from ._perturbation import perturbation
from ._perturbed_changes import perturbed_changes
from ._perturbed_embedding import perturbed_embedding
from ._perturbed_program import perturbed_program
from ._perturbed_table import perturbed_table
from ._rank_fit import rank_fit
from ._screen import screen
from ._sentence import sentence
from ._summary import summary
from ._training import training

__all__ = [
    "calibration",
    "confusion",
    "generated_distributions",
    "generated_embedding",
    "generated_fold_changes",
    "generated_means",
    "generation",
    "perturbation",
    "perturbed_changes",
    "perturbed_embedding",
    "perturbed_program",
    "perturbed_table",
    "rank_fit",
    "screen",
    "sentence",
    "summary",
    "training",
]
