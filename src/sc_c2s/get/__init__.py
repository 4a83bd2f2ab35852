"""Results as tidy tables, and generated or predicted cells as AnnData."""

from __future__ import annotations

from ._annotation import annotation
from ._generated import generated
from ._perturbed import perturbed

__all__ = ["annotation", "generated", "perturbed"]
