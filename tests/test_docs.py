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
