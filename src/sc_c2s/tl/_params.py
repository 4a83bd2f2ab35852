"""Parameters in the form that `uns` takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def columns(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of columns, however they were given."""
    return () if names is None else (names,) if isinstance(names, str) else tuple(names)


def plain(names: Sequence[str]) -> str | np.ndarray | None:
    """Write names the way `uns` takes them."""
    return np.array(names, dtype=object) if len(names) > 1 else names[0] if names else None
