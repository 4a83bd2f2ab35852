"""Results as tidy tables, and generated cells as AnnData."""

from __future__ import annotations

from ._annotation import annotation
from ._generated import generated

__all__ = ["annotation", "generated"]
