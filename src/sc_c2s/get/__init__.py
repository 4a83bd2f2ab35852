"""Results as tidy tables, and generated or predicted cells as AnnData."""

from __future__ import annotations

from ._annotation import annotation
from ._generated import generated
from ._perturbed import perturbed
from ._summary import claims, summary

__all__ = ["annotation", "claims", "generated", "perturbed", "summary"]
