"""The pages name what the package has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sc_c2s as c2s

API = Path(__file__).resolve().parents[1] / "docs" / "api"


@pytest.mark.skipif(not API.is_dir(), reason="the documentation is not part of the source distribution")
@pytest.mark.parametrize("room", ["get", "metrics", "models", "pl", "pp", "tl"])
def test_every_public_function_and_class_has_a_page(room):
    page = (API / f"{room}.md").read_text(encoding="utf-8")
    listed = re.findall(rf"^   {room}\.(\w+)$", page, flags=re.MULTILINE)
    public = {name for name in getattr(c2s, room).__all__ if callable(getattr(getattr(c2s, room), name))}
    assert sorted(listed) == sorted(public)


@pytest.mark.skipif(not API.is_dir(), reason="the documentation is not part of the source distribution")
def test_every_reward_and_source_of_programs_has_an_entry():
    listed = re.findall(r"^   rl\.(\w+\.\w+)$", (API / "rl.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    public = {f"{room}.{name}" for room in c2s.rl.__all__ for name in getattr(c2s.rl, room).__all__}
    assert sorted(listed) == sorted(public - {"programs.read_gmt"}), "the reader has its page among the metrics"
