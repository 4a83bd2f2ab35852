"""Results as tidy tables."""

from __future__ import annotations

from ._annotation import annotation

__all__ = ["annotation"]
