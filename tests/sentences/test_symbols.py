from __future__ import annotations

import pytest

from sc_c2s.sentences.symbols import check_names, guess_organism, looks_like_ensembl, overlap


@pytest.mark.parametrize(
    ("names", "ensembl"),
    [
        (["ENSG00000198851", "ENSG00000010610.9", "ENSMUSG00000032093"], True),
        (["ENSG00000198851", "CD3E", "CD4"], False),
        (["ENSA", "ENSG", "ENSAP3"], False),
        ([], False),
    ],
)
def test_ensembl_ids(names, ensembl):
    assert looks_like_ensembl(names) is ensembl


@pytest.mark.parametrize(
    ("names", "organism"),
    [
        (["CD3E", "MT-CO1", "C1orf112", "HLA-DRA", "7SK"], "human"),
        (["Cd3e", "mt-Co1", "Gm26917", "Ms4a1", "Rpl32"], "mouse"),
        (["CD3E", "Cd3e"], None),
        (["1", "2"], None),
        ([], None),
    ],
)
def test_organism(names, organism):
    assert guess_organism(names) == organism


def test_names_that_differ_in_case_are_two():
    check_names(["Cd3e", "CD3E"], "fix")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["A", "B", "A", "A"], r"1 gene names occur more than once \(for example 'A'\): mend it"),
        (["A", ""], r"1 genes have no name \(for example ''\): mend it"),
        (["A", None, float("nan")], "2 genes have no name"),
    ],
)
def test_names_that_cannot_be_written(names, message):
    with pytest.raises(ValueError, match=message):
        check_names(names, "mend it")


def test_overlap_known():
    assert overlap(["A", "B", "C", "D"], ["B", "D", "E"]) == {
        "n_genes": 4,
        "n_vocabulary": 3,
        "n_shared": 2,
        "share": 0.5,
    }
    assert overlap([], ["A"])["share"] == 0
