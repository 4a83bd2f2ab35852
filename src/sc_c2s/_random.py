"""One way to say where randomness comes from."""

from __future__ import annotations

import zlib

import numpy as np

DEFAULT_SEED = 0
"""What ``rng=`` is where the caller says nothing: the same call gives the same result."""


def resolve_rng(
    rng: int | np.random.Generator | None = DEFAULT_SEED,
    random_state: int | np.random.Generator | None = None,
) -> np.random.Generator:
    """Make the generator a function draws from.

    Parameters
    ----------
    rng
        A seed, or a generator, which is then used (and advanced) as it is; `None` for fresh entropy.
    random_state
        The same under scanpy's older name. Takes the place of ``rng`` left at its default.

    Returns
    -------
    The generator.
    """
    if random_state is None:
        return np.random.default_rng(rng)
    if isinstance(rng, np.random.Generator) or (rng is not None and rng != DEFAULT_SEED):
        raise TypeError("rng= and random_state= mean the same: pass only one of them.")
    return np.random.default_rng(random_state)


def named_rng(seed: int, name: str) -> np.random.Generator:
    """Make the generator of one of several things, which depends on no other of them and on no order.

    Parameters
    ----------
    seed
        Seed of all of them.
    name
        Name of this one.

    Returns
    -------
    The generator.
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
