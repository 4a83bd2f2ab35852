"""The list of published checkpoints."""

from __future__ import annotations

import re

from sc_c2s.models.registry import published


def test_published() -> None:
    table = published()
    assert table["name"].is_unique
    assert all(re.fullmatch(r"vandijklab/[\w.-]+", name) for name in table["name"])
    assert table[["base", "parameters", "trained_for"]].notna().all(axis=None)
    context = table.set_index("name")["context"]
    assert context["vandijklab/C2S-Scale-Pythia-1b-pt"] == 8192
    assert context.dropna().gt(0).all()


def test_the_table_is_a_fresh_one() -> None:
    table = published()
    table.loc[0, "name"] = "changed"
    assert published().loc[0, "name"] != "changed"
