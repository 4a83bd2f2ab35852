"""Programs of other packages, which stand-ins with their tables take the place of."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest

from sc_c2s import metrics
from sc_c2s.rl import programs


def test_read_gmt_is_that_of_the_metrics() -> None:
    assert programs.read_gmt is metrics.read_gmt


def test_from_decoupler(monkeypatch) -> None:
    asked = {}

    def progeny(**options: object) -> pd.DataFrame:
        asked.update(options)
        return pd.DataFrame(
            {"source": ["TNFa", "TNFa", "TNFa", "WNT"], "target": ["A", "B", "C", "A"], "weight": [2.0, -1, 0.5, 1]}
        )

    def hallmark(organism: str) -> pd.DataFrame:
        return pd.DataFrame({"source": ["HYPOXIA"] * 2, "target": ["A", "B"]})

    package = ModuleType("decoupler")
    package.op = SimpleNamespace(progeny=progeny, hallmark=hallmark)
    monkeypatch.setitem(sys.modules, "decoupler", package)
    found = programs.from_decoupler("progeny", organism="mouse", top=100)
    assert found == {"TNFa": ["A", "C"], "WNT": ["A"]}, "what falls with a pathway is no gene of its program"
    assert asked == {"organism": "mouse", "top": 100}
    assert programs.from_decoupler("hallmark") == {"HYPOXIA": ["A", "B"]}
    with pytest.raises(ValueError, match="'msigdb' is none of collectri"):
        programs.from_decoupler("msigdb")


def test_from_liana(monkeypatch) -> None:
    def select_resource(name: str) -> pd.DataFrame:
        assert name == "consensus"
        return pd.DataFrame({"ligand": ["IL6", "IL6", "TNF"], "receptor": ["IL6R_IL6ST", "IL6ST", "TNFRSF1A"]})

    package = ModuleType("liana")
    package.resource = ModuleType("liana.resource")
    package.resource.select_resource = select_resource
    monkeypatch.setitem(sys.modules, "liana", package)
    monkeypatch.setitem(sys.modules, "liana.resource", package.resource)
    assert programs.from_liana() == {"IL6": ["IL6R", "IL6ST"], "TNF": ["TNFRSF1A"]}
    assert programs.from_liana(by="receptor")["IL6ST"] == ["IL6"]
    with pytest.raises(ValueError, match="neither 'ligand' nor 'receptor'"):
        programs.from_liana(by="gene")


@pytest.mark.parametrize(("package", "call"), [("decoupler", "from_decoupler"), ("liana", "from_liana")])
def test_a_missing_package_is_named(package, call) -> None:
    if find_spec(package):
        pytest.skip("the package is installed")
    with pytest.raises(ImportError, match=f"pip install '{package}"):
        getattr(programs, call)("hallmark")
