"""Which labels a name in prose stands for, without an ontology, with a small one, and with the real one."""

from __future__ import annotations

import pytest

from sc_c2s.metrics import CellNames, CellOntology, cell_ontology, read_cell_type_names
from sc_c2s.metrics.cell_names import name_of

LABELS = ["CD4 T cells", "CD8 T cells", "B", "FCGR3A+ Monocytes", "CD14+ Mono", "NK", "Dendritic cells", "CD34+"]
T = {"CD4 T cells", "CD8 T cells"}
OBO = r"""[Term]
id: CL:1
name: leukocyte
synonym: "white \"blood\" cell" EXACT []
synonym: "LEU" EXACT []
synonym: "cell of blood" BROAD []

[Term]
id: CL:2
name: T cell
synonym: "T lymphocyte" EXACT []
is_a: CL:1

[Term]
id: CL:3
name: regulatory T cell
synonym: "Treg" EXACT []
is_a: CL:2

[Term]
id: CL:4
name: monocyte
is_a: CL:1

[Term]
id: CL:5
name: liver cell
synonym: "hepatocyte" EXACT []

[Term]
id: CL:6
name: gone
is_obsolete: true
"""


def found(text: str, labels: list[str] = LABELS, **options) -> dict[str, tuple[set, set]]:
    mentions = CellNames(labels, **options).find(text)
    assert all(text[m.start : m.end] == m.words for m in mentions)
    return {m.words: (set(m.labels), set(m.perhaps)) for m in mentions}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> CellOntology:
    path = tmp_path_factory.mktemp("obo") / "cl.obo"
    path.write_text(OBO)
    return cell_ontology(path)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("CD4+ T cells", "CD4 T cell"),
        ("CD4-positive T-cells", "cd4 t cell"),
        ("FCGR3A+ Monocytes", "fcgr3a monocyte"),
        ("γδ T cell", "gamma-delta T cells"),
        ("DCs", "DC"),
        ("Tregs", "treg"),
    ],
)
def test_spellings_of_one_name(a, b) -> None:
    assert name_of(a) == name_of(b)


@pytest.mark.parametrize(("a", "b"), [("CD25- T cell", "CD25 T cell"), ("basis", "basi"), ("CD4 T cell", "CD8 T cell")])
def test_names_that_differ(a, b) -> None:
    assert name_of(a) != name_of(b)


def test_a_name_stands_for_all_labels_with_its_words() -> None:
    assert found("the T-cells") == {"T-cells": (T, set())}
    assert found("CD8+ T cells") == {"CD8+ T cells": ({"CD8 T cells"}, set())}
    assert found("monocytes") == {"monocytes": ({"FCGR3A+ Monocytes"}, set())}
    assert found("B cells, NKs and dendritic cells") == {
        "B cells": ({"B"}, set()),
        "NKs": ({"NK"}, set()),
        "dendritic cells": ({"Dendritic cells"}, set()),
    }


def test_further_names_of_labels() -> None:
    names = {"CD14+ Mono": ["CD14+ monocyte", "classical monocyte"]}
    assert found("monocytes", names=names)["monocytes"][0] == {"FCGR3A+ Monocytes", "CD14+ Mono"}
    assert found("Classical monocytes", names=names)["Classical monocytes"][0] == {"CD14+ Mono"}
    with pytest.raises(TypeError, match="a list of names for each label"):
        CellNames(LABELS, names={"B": "B lymphocyte"})


def test_case_does_not_matter() -> None:
    for text in ("t cells", "T CELLS", "T Cells"):
        assert found(text) == {text: (T, set())}


def test_a_narrower_name_leaves_it_open() -> None:
    assert found("naive CD4 T cells") == {"naive CD4 T cells": (set(), {"CD4 T cells"})}
    assert found("CD45RA+ T cells") == {"CD45RA+ T cells": (set(), T)}
    assert found("non-classical monocytes") == {"non-classical monocytes": (set(), {"FCGR3A+ Monocytes"})}
    assert found("many T cells") == {"T cells": (T, set())}, "an amount makes no name narrower"


def test_what_names_no_cell() -> None:
    assert found("T cell receptors, B-cell-derived, non-B cells, a T cell marker") == {}
    assert found("CD34 and CD4 are high in B-specific cells, vitamin B and plan B") == {}
    assert found("cells and more cells") == {}
    assert found("T. Cells") == {}, "a name does not go over a full stop"


def test_markers_alone_are_genes_and_with_cells_a_type() -> None:
    assert found("CD34+ cells") == {"CD34+ cells": ({"CD34+"}, set())}
    assert found("CD34, 10% of CD34+") == {}
    assert found("10% CD34+") == {"CD34+": ({"CD34+"}, set())}


def test_names_that_share_their_end() -> None:
    assert found("T and B cells") == {"T": (T, set()), "B cells": ({"B"}, set())}
    assert found("CD4+ or CD8+ T cells") == {
        "CD4+": ({"CD4 T cells"}, set()),
        "CD8+ T cells": ({"CD8 T cells"}, set()),
    }
    assert found("genes and B cells") == {"B cells": ({"B"}, set())}


def test_labels_without_the_word_cell() -> None:
    labels = ["B", "Naive CD4 T"]
    assert found("60% Naive CD4 T, 13% B", labels) == {"Naive CD4 T": ({"Naive CD4 T"}, set()), "B": ({"B"}, set())}
    assert found("B (13%) and B of A", labels) == {"B": ({"B"}, set())}
    assert len(CellNames(labels).find("B (13%) and B of A")) == 1


def test_the_longest_name_counts() -> None:
    assert found("CD4 T cell", ["T cell", "CD4 T cell"]) == {"CD4 T cell": ({"CD4 T cell"}, set())}
    assert found("T cell", ["T cell", "CD4 T cell"]) == {"T cell": ({"T cell", "CD4 T cell"}, set())}


def test_read_names_of_an_obo_file(tmp_path) -> None:
    path = tmp_path / "cl.obo"
    path.write_text(OBO)
    assert read_cell_type_names(path) == {
        "CL:1": ["leukocyte", 'white "blood" cell', "LEU"],
        "CL:2": ["T cell", "T lymphocyte"],
        "CL:3": ["regulatory T cell", "Treg"],
        "CL:4": ["monocyte"],
        "CL:5": ["liver cell", "hepatocyte"],
    }


def test_an_ontology_brings_synonyms_and_kinds(small) -> None:
    labels = ["CD4 T cells", "CD14+ Monocytes"]
    assert found("T lymphocytes", labels, ontology=small) == {"T lymphocytes": ({"CD4 T cells"}, set())}
    assert found("leukocytes", labels, ontology=small) == {"leukocytes": (set(labels), set())}
    assert found("Tregs", labels, ontology=small) == {"Tregs": (set(), {"CD4 T cells"})}, "a kind of a label"
    assert found("hepatocytes", labels, ontology=small) == {"hepatocytes": (set(), set())}
    assert found("LEU", labels, ontology=small) == {}, "short names in capitals may be genes"


def test_of_labels_without_a_term_nothing_is_known(small) -> None:
    labels = ["CD4 T cells", "cluster seven"]
    assert found("hepatocytes", labels, ontology=small) == {"hepatocytes": (set(), {"cluster seven"})}
    assert found("CD4 T cells", labels, ontology=small) == {"CD4 T cells": ({"CD4 T cells"}, set())}


def test_the_packaged_ontology_knows_t_lymphocytes() -> None:
    pytest.importorskip("cellxgene_ontology_guide")
    everything = found("T lymphocytes and natural killer cells are lymphocytes", ontology=cell_ontology())
    assert everything["T lymphocytes"][0] == T
    assert everything["natural killer cells"][0] == {"NK"}
    assert everything["lymphocytes"][0] == T | {"NK", "B"}
