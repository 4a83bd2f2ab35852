"""The Cell Ontology: distances by hand, and what an OBO file says."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import pairwise
from math import inf

import pytest

from sc_c2s.metrics import label_credit, ontology_distance, read_cell_ontology

OBO = """format-version: 1.2
ontology: cl

[Term]
id: CL:1
name: cell

[Term]
id: CL:2
name: T cell
is_a: CL:1 {source="x"} ! cell

[Term]
id: CL:3
name: CD4 T cell
is_a: CL:2 ! T cell
relationship: part_of UBERON:1 ! blood

[Term]
id: CL:4
name: CD8 T cell
is_a: CL:2 ! T cell
is_a: CL:9

[Term]
id: CL:5
name: gone
is_obsolete: true
is_a: CL:2

[Term]
id: CL:9
name: killer
is_a: CL:1

[Typedef]
id: part_of
is_a: overlaps
"""
PARENTS = {"CL:1": [], "CL:2": ["CL:1"], "CL:3": ["CL:2"], "CL:4": ["CL:2", "CL:9"], "CL:9": ["CL:1"]}
TYPES = {"T": "CL:2", "CD4": "CL:3", "CD8": "CL:4", "killer": "CL:9", "also CD4": "CL:3", "any": "CL:1"}


def test_read_obo(tmp_path) -> None:
    path = tmp_path / "cl.obo"
    path.write_text(OBO)
    assert read_cell_ontology(path) == PARENTS
    path.write_text("name\tgenes\n")
    with pytest.raises(ValueError, match="holds no term"):
        read_cell_ontology(path)


@pytest.mark.parametrize(
    ("a", "b", "steps"),
    [
        ("CL:3", "CL:3", 0),
        ("CL:3", "CL:2", 1),
        ("CL:3", "CL:4", 2),
        ("CL:4", "CL:9", 1),
        ("CL:3", "CL:9", 3),
        ("CL:3", "CL:7", inf),
    ],
)
def test_distance_is_over_the_nearest_common_ancestor(a, b, steps) -> None:
    assert ontology_distance(PARENTS, a, b) == ontology_distance(PARENTS, b, a) == steps


def test_credit_falls_with_the_distance() -> None:
    def credit(found: str | None, wanted: str = "CD4", **options: int) -> float:
        return label_credit(found, wanted, parents=PARENTS, cell_types=TYPES, **options)

    assert credit("CD4") == 1
    by_distance = ["also CD4", "T", "CD8"]
    assert [credit(found) for found in by_distance] == pytest.approx([1 / 2, 1 / 3, 1 / 6])
    assert credit("killer") == 0
    assert credit("killer", reach=3) == pytest.approx(1 / 8)
    assert credit(None) == credit("unheard of") == credit("CD4", wanted="unheard of") == 0
    assert all(a > b for a, b in pairwise(map(credit, ["CD4", *by_distance, "killer"])))


def test_a_safe_parent_is_no_better_than_the_likelier_child() -> None:
    vague = label_credit("T", "CD4", parents=PARENTS, cell_types=TYPES)
    sibling = label_credit("CD8", "CD4", parents=PARENTS, cell_types=TYPES)
    assert vague < (1 + sibling) / 2


def test_without_an_ontology_it_is_all_or_nothing() -> None:
    assert label_credit("CD4", "CD4") == 1
    assert label_credit("T", "CD4") == label_credit("T", "CD4", parents=PARENTS) == 0
    assert label_credit("T", "CD4", cell_types=TYPES) == 0


@pytest.mark.skipif(find_spec("cellxgene_ontology_guide") is not None, reason="the package is installed")
def test_a_missing_package_is_named() -> None:
    with pytest.raises(ImportError, match="pip install cellxgene-ontology-guide"):
        read_cell_ontology()


def test_the_packaged_ontology_knows_b_cells() -> None:
    pytest.importorskip("cellxgene_ontology_guide")
    parents = read_cell_ontology()
    assert parents["CL:0000236"] == ["CL:0000945"]
    assert ontology_distance(parents, "CL:0000624", "CL:0000625") == 2, "CD4 and CD8 T cells are siblings"
