"""The one progress bar of every long step."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import scanpy as sc
from tqdm.auto import tqdm


def progress(
    over: Iterable | None = None,
    desc: str = "",
    *,
    total: int | None = None,
    unit: str = "it",
    disable: bool | None = None,
) -> tqdm:
    """Show how far a long step is, on standard error or as a notebook widget.

    Parameters
    ----------
    over
        What to go through. Without it, call ``update`` on the bar yourself, best in a ``with`` block.
    desc
        Two or three words in front of the bar.
    total
        Number of steps, where ``over`` has no length.
    unit
        What one step is, for example ``"cell"``.
    disable
        Hide the bar. By default it is hidden when scanpy is asked to say errors only
        (``sc.settings.verbosity = 0``).

    Returns
    -------
    The bar, which is also an iterator.
    """
    if disable is None:
        disable = sc.settings.verbosity < 1
    return tqdm(over, desc=desc, total=total, unit=unit, disable=disable, file=sys.stderr, dynamic_ncols=True)
