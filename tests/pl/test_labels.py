from __future__ import annotations

from itertools import combinations

import numpy as np

from sc_c2s.pl._labels import label_points


def boxes(ax) -> list:
    """Frames of the names alone: that of an annotation has its line in it as well."""
    from matplotlib.text import Text

    return [Text.get_window_extent(text) for text in ax.texts]


def test_names_of_crowded_dots_neither_overlap_nor_leave_the_axes():
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(4, 4), layout="constrained")
    places = np.random.default_rng(0).normal([4, 4], 0.15, size=(12, 2))
    ax.set(xlim=(-5, 5), ylim=(-5, 5))
    names = [f"HLA-GENE{i}" for i in range(12)]
    fig.draw_without_rendering()
    label_points(ax, places, names)
    fig.canvas.draw()
    assert [text.get_text() for text in ax.texts] == names
    assert not any(a.overlaps(b) for a, b in combinations(boxes(ax), 2))
    frame = ax.get_window_extent()
    for box in boxes(ax):
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
        assert frame.y0 <= box.y0
        assert box.y1 <= frame.y1


def test_a_dot_alone_has_its_name_right_beside_it():
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots()
    ax.set(xlim=(0, 2), ylim=(0, 2))
    label_points(ax, np.array([[1.0, 1.0]]), ["CD74"])
    fig.canvas.draw()
    (box,) = boxes(ax)
    x, y = ax.transData.transform((1, 1))
    assert x < box.x0 < x + 10
    assert box.y0 < y < box.y1
