from __future__ import annotations

import numpy as np
import pytest

from sc_c2s._random import named_rng, resolve_rng


def test_a_seed_means_the_same_under_both_names():
    assert resolve_rng(7).integers(1000) == resolve_rng(random_state=7).integers(1000)
    assert resolve_rng(7).integers(1000) == np.random.default_rng(7).integers(1000)


def test_the_default_is_reproducible_and_none_is_not():
    assert resolve_rng().integers(2**63) == resolve_rng(0).integers(2**63)
    assert resolve_rng(None).integers(2**63) != resolve_rng(None).integers(2**63)


def test_a_generator_is_used_as_it_is():
    generator = np.random.default_rng(3)
    assert resolve_rng(generator) is generator
    assert resolve_rng(random_state=generator) is generator


@pytest.mark.parametrize("rng", [1, np.random.default_rng(1)])
def test_both_names_together_are_an_error(rng):
    with pytest.raises(TypeError, match="pass only one"):
        resolve_rng(rng, 2)


def test_things_draw_by_their_name_whatever_others_there_are():
    drawn = {name: named_rng(3, name).integers(2**63) for name in ("b", "a", "α | 1")}
    assert len(set(drawn.values())) == 3
    assert all(named_rng(3, name).integers(2**63) == value for name, value in drawn.items())
    assert named_rng(4, "a").integers(2**63) != drawn["a"]
