"""One way to say where randomness comes from."""

from __future__ import annotations

import numpy as np


def resolve_rng(
    rng: int | np.random.Generator | None = None, random_state: int | np.random.Generator | None = None
) -> np.random.Generator:
    """Make the generator a function draws from.

    Parameters
    ----------
    rng
        A seed, or a generator, which is then used (and advanced) as it is. `None` stands for not given.
    random_state
        The same under scanpy's older name.

    Returns
    -------
    The generator; fresh entropy if neither is given.
    """
    if rng is not None and random_state is not None:
        raise TypeError("Both rng= and random_state= are given: they mean the same, pass only one.")
    return np.random.default_rng(random_state if rng is None else rng)
