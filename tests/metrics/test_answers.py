from __future__ import annotations

import pytest

from sc_c2s.metrics import exact_match


@pytest.mark.parametrize(
    ("said", "answer", "right"),
    [
        ("B cells", "B cells", True),
        (' "b  CELLS." \n', "B cells", True),
        ("B cells, since CD79A is high", "B cells", False),
        ("B", "B cells", False),
        ("", "B cells", False),
        ("yes no", "yes", False),
    ],
)
def test_answers_in_words(said, answer, right):
    assert exact_match(said, answer) is right


@pytest.mark.parametrize(
    ("said", "tolerance", "right"),
    [
        ("75%", 0.0, True),
        ("about 70 % of them", 0.1, True),
        ("(85%)", 0.1, True),
        ("86%", 0.1, False),
        ("70% or 10%", 0.1, True),
        ("10% or 70%", 0.1, False),
        ("most", 0.1, False),
        ("", 0.1, False),
    ],
)
def test_shares(said, tolerance, right):
    assert exact_match(said, "75%", tolerance=tolerance) is right


def test_a_share_that_is_not_to_be_read_is_a_word():
    assert not exact_match("70%", "75%")
    assert exact_match("75%.", "75%")
