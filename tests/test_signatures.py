"""What scanpy users rely on without reading: the shape of every public function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from operator import attrgetter

import pytest
from numpydoc.docscrape import FunctionDoc

import sc_c2s as c2s

ON_CELLS = ("get", "pl", "pp", "tl")
"""Rooms whose functions take the user's data first; a few take a table of results instead."""


def public(*rooms: str) -> list:
    return [
        pytest.param(getattr(attrgetter(room)(c2s), name), id=f"{room}.{name}")
        for room in rooms
        for name in attrgetter(room)(c2s).__all__
        if inspect.isfunction(getattr(attrgetter(room)(c2s), name))
    ]


ROOMS = ("get", "metrics", "models", "pl", "pp", "rl.programs", "rl.rewards", "tl")
every_function = pytest.mark.parametrize("function", public(*ROOMS))


def parameters(function: Callable) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


on_cells = [item for item in public(*ON_CELLS) if parameters(item.values[0])[0].name != "table"]
every_function_on_cells = pytest.mark.parametrize("function", on_cells)


@every_function_on_cells
def test_data_comes_first(function):
    assert parameters(function)[0].name == "data"


@every_function_on_cells
def test_at_most_three_positional_arguments(function):
    positional = [p for p in parameters(function) if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert len(positional) <= 3
    # The data themselves may be left out where a model knows all that is needed.
    others = [p for p in positional if (p.name, p.default) != ("data", None)]
    assert all(p.default is inspect.Parameter.empty for p in others), "an argument with a default is keyword-only"


@every_function_on_cells
def test_a_modality_can_be_named(function):
    assert "mod" in inspect.signature(function).parameters


@every_function_on_cells
def test_copy_is_off_by_default(function):
    copy = inspect.signature(function).parameters.get("copy")
    assert copy is None or copy.default is False


@every_function
def test_every_argument_has_a_type(function):
    signature = inspect.signature(function)
    assert [p.name for p in parameters(function) if p.annotation is inspect.Parameter.empty] == []
    assert signature.return_annotation is not inspect.Signature.empty


@every_function
def test_the_docstring_describes_every_argument_once_and_in_order(function):
    documented = [
        name.strip().lstrip("*") for item in FunctionDoc(function)["Parameters"] for name in item.name.split(",")
    ]
    assert documented == [p.name for p in parameters(function)]


@every_function
def test_types_are_in_the_signature_only(function):
    assert [item.name for item in FunctionDoc(function)["Parameters"] if item.type] == []


@every_function
def test_the_docstring_says_what_comes_back(function):
    doc = FunctionDoc(function)
    assert doc["Summary"]
    assert doc["Returns"] or inspect.signature(function).return_annotation in {"None", None}
