from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from sc_c2s.pl._palette import LUMINANCE, colour_conditions, legend_of


def names(n: int) -> list[str]:
    return [f"condition {i}" for i in range(n)]


@pytest.mark.parametrize("n", [1, 3, 20, 40])
def test_every_condition_has_a_colour_of_its_own(n):
    colours = colour_conditions(names(n), None)
    assert list(colours) == names(n)
    assert len(set(colours.values())) == n


def test_many_colours_are_not_taken_for_light_grey():
    colours = colour_conditions(names(60), None).values()
    assert max(np.dot(to_rgb(colour), LUMINANCE) for colour in colours) < 0.8


def test_colours_by_name_list_or_mapping():
    assert list(colour_conditions(names(2), "tab10").values()) == ["#1f77b4", "#ff7f0e"]
    assert list(colour_conditions(names(2), "Greys").values()) == ["#ffffff", "#000000"]
    assert list(colour_conditions(names(3), ["red", "blue"]).values()) == ["#ff0000", "#0000ff", "#ff0000"]
    mapping = {"condition 1": (0, 0, 0), "condition 0": "red", "other": "blue"}
    assert colour_conditions(names(2), mapping) == {"condition 0": "#ff0000", "condition 1": "#000000"}
    with pytest.raises(KeyError, match="palette= has no colour for 'condition 2'"):
        colour_conditions(names(3), mapping)


def test_legend():
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    colours = colour_conditions(names(30), None)
    legend_of(ax, colours)
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == names(30)
    assert [to_hex(handle.get_color()) for handle in legend.legend_handles] == list(colours.values())
