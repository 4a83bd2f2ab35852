from __future__ import annotations

import pytest
import scanpy as sc

from sc_c2s._progress import progress


@pytest.fixture
def verbosity():
    before = sc.settings.verbosity
    yield lambda level: setattr(sc.settings, "verbosity", level)
    sc.settings.verbosity = before


def test_the_bar_is_on_standard_error_and_passes_everything_on(capsys, verbosity):
    verbosity(1)
    assert list(progress(range(3), "counting sheep", unit="sheep")) == [0, 1, 2]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "counting sheep" in captured.err
    assert "3/3" in captured.err


def test_no_bar_when_scanpy_is_silent(capsys, verbosity):
    verbosity(0)
    assert list(progress(range(3), "counting sheep")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_the_caller_decides_over_the_settings(capsys, verbosity):
    verbosity(0)
    with progress(desc="by hand", total=4, disable=False) as bar:
        bar.update(4)
    assert "by hand" in capsys.readouterr().err
    verbosity(3)
    list(progress(range(3), "hidden", disable=True))
    assert capsys.readouterr().err == ""
