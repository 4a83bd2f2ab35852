from __future__ import annotations

import json
import subprocess
import sys

import pytest

import sc_c2s

SLOW = ("accelerate", "datasets", "mudata", "muon", "peft", "torch", "transformers", "trl")


def modules_after(*statements: str) -> set[str]:
    """Names of the modules that a fresh interpreter has loaded after these statements."""
    code = "\n".join([*statements, "import json, sys", "print(json.dumps(sorted(sys.modules)))"])
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(json.loads(out.splitlines()[-1]))


@pytest.fixture(scope="module")
def with_scanpy() -> set[str]:
    return modules_after("import scanpy")


@pytest.fixture(scope="module")
def with_every_room() -> set[str]:
    return modules_after("import scanpy", "import sc_c2s", *(f"sc_c2s.{room}" for room in rooms()))


def rooms() -> list[str]:
    return sorted(set(sc_c2s.__all__) - {"__version__", "session_info"})


@pytest.mark.parametrize("name", SLOW)
def test_no_room_loads_a_slow_package(name, with_scanpy, with_every_room):
    assert name not in with_every_room - with_scanpy


def test_nothing_of_matplotlib_beyond_what_scanpy_loads(with_scanpy, with_every_room):
    assert {name for name in with_every_room - with_scanpy if name.split(".")[0] == "matplotlib"} == set()


def test_the_face_alone_loads_no_room():
    loaded = modules_after("import sc_c2s")
    assert {f"sc_c2s.{room}" for room in rooms()} & loaded == set()


def test_the_face_names_its_rooms():
    assert set(dir(sc_c2s)) == {"__version__", "get", "metrics", "models", "pl", "pp", "rl", "session_info", "tl"}
    for room in rooms():
        assert getattr(sc_c2s, room).__name__ == f"sc_c2s.{room}"


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = sc_c2s.nonsense
