"""Claims of texts about a made-up group: two T cells of three, a quarter of B cells, some NK cells, no monocytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sc_c2s.metrics import GroupFacts, grounding, grounding_shares
from sc_c2s.metrics.grounding import COLUMNS, VERDICTS

SIGNS = {"confirmed": "+", "contradicted": "-", "not checkable": "?"}
GENES = pd.DataFrame(
    [
        # share, elsewhere, log fold change
        ("CD3D", 0.80, 0.10, 2.0),
        ("CD3E", 0.70, 0.10, 1.5),
        ("IL7R", 0.60, 0.20, 1.0),
        ("NKG7", 0.12, 0.10, 0.1),
        ("CD79A", 0.25, 0.05, 0.4),
        ("MS4A1", 0.20, 0.60, -1.5),
        ("LYZ", 0.05, 0.70, -3.0),
        ("MALAT1", 1.00, 1.00, 0.0),
        ("HLA-DRA", 0.30, 0.80, -2.0),
        ("CD4", 0.30, 0.20, 0.2),
        ("MAX", 0.30, 0.30, 0.0),
        ("Rest", 0.50, 0.30, 0.5),
        ("T", 0.50, 0.30, 0.5),
        ("dpp", 0.50, 0.30, 0.5),
        ("XIST", 0.00, 0.00, 0.0),
    ],
    columns=["gene", "share", "share_rest", "log_fold_change"],
).set_index("gene")
GENES[["mean", "mean_rest"]] = GENES[["share", "share_rest"]] * 2
COMPOSITION = pd.Series(
    {"CD4 T cells": 0.46, "B cells": 0.25, "CD8 T cells": 0.20, "NK cells": 0.086, "pDC": 0.004, "CD14+ Monocytes": 0.0}
)
CONTEXT = {
    "condition": {"stim": 0.97, "ctrl": 0.03},
    "treatment": {"IFN-β": 0.9, "none": 0.1},
    "tissue": {"lymph node": 0.6, "blood": 0.4},
    "phase": {"G1": 0.7, "S": 0.3},
    "donor": {"1": 0.7, "2": 0.3},
}
FACTS = GroupFacts(1000, GENES, COMPOSITION, CONTEXT)


def claims(text: str, facts: GroupFacts = FACTS, **options) -> list[str]:
    """Each claim as kind, words and verdict."""
    table = grounding(text, facts, **options)
    assert list(table.columns) == list(COLUMNS)
    assert all(text[row.start : row.end] == row.words for row in table.itertuples())
    return [f"{row.kind}: {row.words} {SIGNS[row.verdict]}" for row in table.itertuples()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("They express CD3D.", ["gene: CD3D +"]),
        ("LYZ is expressed.", ["gene: LYZ -"]),
        ("NKG7", ["gene: NKG7 +"]),
        ("ABC1 and CD3D", ["gene: ABC1 ?", "gene: CD3D +"]),
        ("genes such as CD3D, GNLY and LYZ", ["gene: CD3D +", "gene: GNLY ?", "gene: LYZ -"]),
        ("GNLY is in no list, and neither are DNA or COVID-19", []),
        ("cd3d, XCD3D, CD3D-like, CD3D+ and CD3D-positive", ["gene: XCD3D ?"]),
        ("HLA-DRA (CD3D)/CD3E.", ["gene: HLA-DRA +", "gene: CD3D +", "gene: CD3E +"]),
        ("MAX is one, Max and max are not.", ["gene: MAX +"]),
        ("ALL CELLS HAVE MAX", []),
        ("ALL CELLS HAVE CD3D", ["gene: CD3D +"]),
        ("Rest of the cells. The Rest gene.", ["gene: Rest +"]),
        ("T or dpp", []),
        ("CD4 T cells have CD4", ["cell type: CD4 T cells +", "gene: CD4 +"]),
        ("CD4 is not a marker of CD34+ cells", ["direction: CD4 +"]),
    ],
)
def test_genes(text, expected) -> None:
    assert claims(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("High CD3D, high MALAT1.", ["direction: CD3D +", "direction: MALAT1 -"]),
        ("Marked by CD3D, CD3E and LYZ", ["direction: CD3D +", "direction: CD3E +", "direction: LYZ -"]),
        ("Markers (e.g. CD3D, NKG7)", ["direction: CD3D +", "direction: NKG7 -"]),
        ("Up-regulated genes include CD3D and IL7R.", ["direction: CD3D +", "direction: IL7R +"]),
        ("CD3D and IL7R are among the most highly expressed", ["direction: CD3D +", "direction: IL7R +"]),
        ("CD3D is high, MS4A1 is low", ["direction: CD3D +", "direction: MS4A1 +"]),
        ("high CD3D and low IL7R", ["direction: CD3D +", "direction: IL7R -"]),
        ("reduced expression of LYZ and HLA-DRA", ["direction: LYZ +", "direction: HLA-DRA +"]),
        ("LYZ falls and CD3D rises", ["direction: LYZ +", "direction: CD3D +"]),
        ("B cell genes (MS4A1, LYZ) are down", ["direction: MS4A1 +", "direction: LYZ +"]),
        ("CD3D: high, LYZ: none", ["direction: CD3D +", "direction: LYZ +"]),
        ("CD3D is expressed at low levels", ["direction: CD3D -"]),
        ("No LYZ, and no CD3D", ["direction: LYZ +", "direction: CD3D -"]),
        ("They do not express LYZ, XIST or CD3D", ["direction: LYZ +", "direction: XIST +", "direction: CD3D -"]),
        ("LYZ and XIST are not expressed", ["direction: LYZ +", "direction: XIST +"]),
        ("cells without LYZ", ["direction: LYZ +"]),
        ("absence of LYZ but CD3D", ["direction: LYZ +", "gene: CD3D +"]),
        ("They lack the marker LYZ", ["direction: LYZ +"]),
        ("CD3D negative", ["direction: CD3D -"]),
        ("MALAT1 is not elevated, CD3D is not up-regulated", ["direction: MALAT1 +", "direction: CD3D -"]),
        ("no increase in CD3D", ["direction: CD3D -"]),
        ("no change in CD3D", ["gene: CD3D +"]),
        ("not only CD3D", ["gene: CD3D +"]),
        ("a high proportion of cells with CD3D", ["gene: CD3D +"]),
        ("High ABC1", ["direction: ABC1 ?"]),
    ],
)
def test_directions(text, expected) -> None:
    assert claims(text) == expected


def test_a_direction_needs_a_rest_and_a_size() -> None:
    alone = replace(FACTS, genes=GENES.assign(share_rest=np.nan, mean_rest=np.nan, log_fold_change=np.nan))
    assert claims("High CD3D without LYZ", alone) == ["direction: CD3D ?", "direction: LYZ +"]
    assert claims("High CD79A") == ["direction: CD79A +"]
    assert claims("High CD79A", min_change=0.5) == ["direction: CD79A -"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There are T cells and monocytes", ["cell type: T cells +", "cell type: monocytes -"]),
        ("CD14+ monocytes", ["cell type: CD14+ monocytes -"]),
        ("naive CD4 T cells", ["cell type: naive CD4 T cells ?"]),
        ("activated monocytes", ["cell type: activated monocytes -"]),
        ("pDC", ["cell type: pDC ?"]),
        ("no monocytes", ["cell type: monocytes +"]),
        ("no B cells or monocytes", ["cell type: B cells -", "cell type: monocytes +"]),
        ("Monocytes are absent and B cells were not detected", ["cell type: Monocytes +", "cell type: B cells -"]),
        ("This is not a B cell", ["cell type: B cell -"]),
        ("an absence of monocytes", ["cell type: monocytes +"]),
        ("unlike monocytes, and other than B cells", []),
        ("B cells and no B cells", ["cell type: B cells +", "cell type: B cells -"]),
        ("not only B cells", ["cell type: B cells +"]),
        ("hepatocytes", []),
    ],
)
def test_cell_types(text, expected) -> None:
    assert claims(text) == expected


def test_without_labels_types_and_shares_cannot_be_checked() -> None:
    bare = replace(FACTS, composition=None)
    names = {"B cells": ["B lymphocytes"]}
    assert claims("B lymphocytes (25%), no B cells", bare, names=names) == [
        "proportion: B lymphocytes (25%) ?",
        "cell type: B cells ?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B cells (35%)", ["proportion: B cells (35%) +"]),
        ("B cells (36%)", ["proportion: B cells (36%) -"]),
        ("15% B cells", ["proportion: 15% B cells +"]),
        ("25 percent of the cells are B cells", ["proportion: 25 percent of the cells are B cells +"]),
        ("B cells make up about a quarter", ["proportion: B cells make up about a quarter +"]),
        ("Two thirds are T cells", ["proportion: Two thirds are T cells +"]),
        ("half T cells", ["proportion: half T cells -"]),
        ("between 20 and 30% B cells", ["proportion: between 20 and 30% B cells +"]),
        ("25% B cells, 15% fibroblasts", ["proportion: 25% B cells +", "proportion: 15% ?"]),
        ("15% fibroblasts and T cells", ["cell type: T cells +", "proportion: 15% ?"]),
        ("fibroblasts (15%) beside B cells", ["cell type: B cells +", "proportion: 15% ?"]),
        ("B cells are there, at 30%", ["proportion: B cells are there, at 30% +"]),
        ("0-100% B cells", ["proportion: 0-100% B cells ?"]),
        ("mostly T cells", ["proportion: mostly T cells +"]),
        ("Most cells are B cells", ["proportion: Most cells are B cells -"]),
        ("predominantly CD4 T cells and B cells", ["proportion: predominantly CD4 T cells +", "cell type: B cells +"]),
        ("few NK cells", ["proportion: few NK cells +"]),
        ("few B cells, few monocytes", ["proportion: few B cells -", "proportion: few monocytes -"]),
        ("a smaller number of NK cells", ["proportion: a smaller number of NK cells +"]),
        ("B cells do not make up half", ["cell type: B cells +", "proportion: half ?"]),
        ("5% monocytes", ["proportion: 5% monocytes -"]),
        ("0% monocytes", ["proportion: 0% monocytes +"]),
        ("25% naive B cells", ["proportion: 25% naive B cells ?"]),
        ("25% B cells, 66% T cells", ["proportion: 25% B cells +", "proportion: 66% T cells +"]),
        ("T cells 66%, B cells 25%", ["proportion: T cells 66% +", "proportion: B cells 25% +"]),
        ("25% are B cells, 66% are T cells", ["proportion: 25% are B cells +", "proportion: 66% are T cells +"]),
        ("T and B cells make up 66% and 25%, respectively", ["proportion: 66% +", "proportion: 25% +"]),
        ("30% of cells", ["proportion: 30% ?"]),
        ("20% of the T cells are CD8A-high", ["cell type: T cells +", "proportion: 20% ?"]),
        ("most T cells and a 20% increase", ["cell type: T cells +", "proportion: 20% ?"]),
        ("B cells express few genes, the most variable ones", ["cell type: B cells +"]),
    ],
)
def test_proportions(text, expected) -> None:
    assert sorted(claims(text)) == sorted(expected)


def test_the_tolerance() -> None:
    assert claims("30% B cells", tolerance=0.05) == ["proportion: 30% B cells +"]
    assert claims("31% B cells", tolerance=0.05) == ["proportion: 31% B cells -"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stim", ["context: stim +"]),
        ("The ctrl cells", ["context: ctrl -"]),
        ("not ctrl", ["context: ctrl +"]),
        ("stimulated", []),
        ("IFN-beta, IFNβ", ["context: IFN-beta +"]),
        ("from Lymph Node", ["context: Lymph Node +"]),
        ("from blood", ["context: blood ?"]),
        ("blood (40%)", ["proportion: blood (40%) +"]),
        ("donor 1, 1 of them", ["context: donor 1 +"]),
        ("The donor is 2", ["context: donor is 2 ?"]),
        ("none of them", []),
        ("phase: S (30%) and G1 (68%), not S", ["proportion: S (30%) +", "proportion: G1 (68%) +"]),
        ("compared with ctrl", []),
    ],
)
def test_context(text, expected) -> None:
    assert claims(text) == expected


def test_what_is_said_and_what_is_found() -> None:
    table = grounding("High CD3D, no LYZ. B cells (35%), monocytes. ctrl", FACTS)
    assert table["said"].tolist() == [
        "CD3D is above the rest",
        "LYZ is not expressed",
        "B cells: 35 %",
        "monocytes: present",
        "condition is ctrl",
    ]
    assert table["found"].tolist() == [
        "log2 fold change +2.00",
        "in 5 % of the cells",
        "25 %",
        "0 % of the cells",
        "3 % of the cells",
    ]


def test_the_same_claim_counts_once() -> None:
    assert claims("CD3D. CD3D! CD3D?") == ["gene: CD3D +"]
    assert claims("B cells, B-cells and the B cell") == ["cell type: B cells +"]
    assert claims("CD3D is there. High CD3D.") == ["direction: CD3D +"], "who says high says expressed"
    assert claims("B cells. 25% B cells. 25 % B cells") == ["proportion: 25% B cells +"]
    assert claims("20% B cells, 25% B cells, 60% B cells; 70% B cells") == [
        "proportion: 20% B cells +",
        "proportion: 60% B cells -",
    ]
    assert claims("CD3D. No CD3D.") == ["gene: CD3D +", "direction: CD3D -"]


PARAGRAPHS = {
    # what a template writes
    "This group of cells consists of 46% CD4 T cells, 25% B cells, 20% CD8 T cells and 9% NK cells. The group is marked by "
    "CD3D, CD3E and IL7R. The condition is stim.": "+++++++ +",
    "The tissue is mixed: lymph node (60%) and blood (40%).": "++",
    # as people write
    "A lymphoid population dominated by T cells, in which CD4+ and CD8+ T cells are both seen. B cells account for roughly a "
    "quarter. Monocytes are absent, in line with the low expression of LYZ.": "+++++ +",
    "The cells are mainly monocytes with strong expression of LYZ and HLA-DRA, whereas CD3D is absent.": "----",
    "Consistent with a T cell identity, CD3D and CD3E transcripts are elevated; MALAT1 is unchanged.": "+ ++ +",
    "Taken from the lymph node of donor 1 after IFN-β treatment (stim).": "++++",
    "A mixture of B cells and NK cells, without T cells.": "++-",
    "We identified naive B cells and memory CD4 T cells, but no dendritic cells.": "??",
    "Compared with other cells, CD3D, CD3E and IL7R are higher.": "+++",
    "The B cells do not express CD3D, although they have MS4A1 and CD79A.": "+-++",
    "- Composition: T cells 66%, B cells 25%\n- Markers: CD3D, IL7R\n- Not found: monocytes": "+++++",
    "About 30% of cells express HLA-DRA, and genes of the MHC are induced.": "?+",
    "These cells may be very interesting, and their biology remains to be studied in detail.": "",
}


@pytest.mark.parametrize("text", PARAGRAPHS, ids=lambda text: text[:30])
def test_paragraphs(text) -> None:
    found = "".join(claim[-1] for claim in claims(text))
    assert found == PARAGRAPHS[text].replace(" ", ""), claims(text)


def test_shares() -> None:
    shares = grounding_shares(grounding("B cells, monocytes, CD3D, ABC1", FACTS))
    assert shares == {"n_claims": 4, "confirmed": 0.5, "contradicted": 0.25, "not_checkable": 0.25}
    none = grounding_shares(grounding("Nothing.", FACTS))
    assert none["n_claims"] == 0
    assert np.isnan([none[verdict.replace(" ", "_")] for verdict in VERDICTS]).all()


def test_another_group_gets_other_verdicts() -> None:
    swapped = GENES.assign(
        share=GENES["share_rest"], share_rest=GENES["share"], log_fold_change=-GENES["log_fold_change"]
    )
    other = GroupFacts(500, swapped, COMPOSITION[::-1].set_axis(COMPOSITION.index), CONTEXT)
    text = "High CD3D and low MS4A1. CD14+ monocytes, and mostly T cells. LYZ is expressed. MALAT1 too."
    here, there = grounding(text, FACTS), grounding(text, other)
    assert here["said"].tolist() == there["said"].tolist()
    assert "".join(here["verdict"].map(SIGNS)) == "++-+-+"
    assert "".join(there["verdict"].map(SIGNS)) == "--+-++"


def test_listing_all_genes_gets_the_share_that_is_expressed() -> None:
    table = grounding(", ".join(GENES.index), FACTS)
    assert len(table) == len(GENES) - 2, "all but T and dpp"
    assert (table["verdict"] == "confirmed").sum() == (GENES.drop(["T", "dpp"])["share"] >= 0.1).sum()


def test_hedges_are_read_as_statements() -> None:
    """A limit that the documentation states."""
    assert claims("They might possibly express CD3D, or not.") == ["gene: CD3D +"]


def test_bad_input() -> None:
    with pytest.raises(TypeError, match="one string"):
        grounding(["a"], FACTS)
    with pytest.raises(ValueError, match="tolerance=-1"):
        grounding("a", FACTS, tolerance=-1)


WORDS = [
    *["CD3D", "LYZ", "MS4A1", "XYZ9", "T cells", "B cells", "naive B cells", "monocytes", "stim", "ctrl", "donor 1"],
    *["high", "low", "no", "not", "without", "marked by", "are absent", "25%", "half", "mostly", "few", "respectively"],
    *["and", ",", ".", "(", ")", "but", "\n", "%", "the", "of", "-", "β", "+"],
]
texts = st.lists(st.sampled_from(WORDS), max_size=20).map(" ".join)


@given(texts | st.text(max_size=60))
@example("\U00017000 cells")  # a letter without a name
def test_places_point_at_the_words(text) -> None:
    table = grounding(text, FACTS)
    assert [text[row.start : row.end] for row in table.itertuples()] == table["words"].tolist()
    assert table["start"].is_monotonic_increasing
    assert (table["start"] < table["end"]).all()
    assert set(table["verdict"]) <= set(VERDICTS)
    assert (
        not table[["kind", "said"]].duplicated().any() or table["said"].str.contains(r"T cells|B cells|something").any()
    )


@given(texts, st.randoms(use_true_random=False))
def test_the_order_of_the_facts_does_not_matter(text, random) -> None:
    genes, labels = list(GENES.index), list(COMPOSITION.index)
    random.shuffle(genes)
    random.shuffle(labels)
    shuffled = replace(FACTS, genes=GENES.loc[genes], composition=COMPOSITION[labels])
    pd.testing.assert_frame_equal(grounding(text, FACTS), grounding(text, shuffled))


@given(texts)
@example("LYZ T cells")
@example("CD14 monocytes")
@example("LYZ naive B cells")
def test_the_case_of_cell_types_does_not_matter(text) -> None:
    other = text.replace("cells", "Cells").replace("monocytes", "Monocytes").replace("naive", "Naive")
    columns = ["start", "end", "kind", "verdict"]
    pd.testing.assert_frame_equal(grounding(text, FACTS)[columns], grounding(other, FACTS)[columns])


@pytest.mark.parametrize("text", ["LYZ T cells", "CD14 monocytes", "LYZ naive B cells"])
def test_a_marker_in_a_name_in_capitals_is_part_of_it(text) -> None:
    assert len(grounding(text, FACTS)) == len(grounding(text.upper(), FACTS)) == 1


@given(texts)
def test_saying_it_twice_changes_nothing(text) -> None:
    once, twice = grounding(text, FACTS), grounding(f"{text}\n\n{text}", FACTS)
    assert twice[["kind", "said"]].drop_duplicates().shape == once[["kind", "said"]].drop_duplicates().shape
    assert grounding_shares(twice)["n_claims"] == grounding_shares(once)["n_claims"]
