from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sc_c2s as c2s

SHARES = ["confirmed", "contradicted", "not_checkable"]
SUMMARIES = pd.DataFrame(
    {
        "text": ["B cells with CD3E.", "No idea."],
        "n_cells": [20, 7],
        "n_genes": [50, 50],
        "n_members": [340, 7],
        "n_claims": [2, 0],
        "confirmed": [0.5, np.nan],
        "contradicted": [0.5, np.nan],
        "not_checkable": [0.0, np.nan],
    },
    index=["B cell", "T cell, CD4/CD8"],
)
CLAIMS = pd.DataFrame(
    {
        "group": ["B cell"] * 2,
        "start": [0, 13],
        "end": [7, 17],
        "words": ["B cells", "CD3E"],
        "kind": ["cell type", "gene"],
        "said": ["B cells: present", "CD3E: is expressed"],
        "found": ["100 % of the cells", "0 % of the cells"],
        "verdict": ["confirmed", "contradicted"],
    }
)


@pytest.fixture
def told(any_data):
    """Two groups were described, and asked about with two answers to choose from."""
    params = {"groupby": "cell_type", "seed": 0}
    any_data.adata.uns["c2s_summary"] = {"summaries": SUMMARIES.copy(), "claims": CLAIMS.copy(), "params": params}
    answers = SUMMARIES.assign(text=["yes", "no"])
    answers.insert(0, "question", "B cells?")
    any_data.adata.uns["c2s_answer"] = {
        "answers": answers,
        "claims": CLAIMS.iloc[:0].copy(),
        "choices": np.array(["yes", "n/o"], dtype=object),
        "proba": np.array([[0.9, 0.1], [0.3, 0.7]]),
        "params": params,
    }
    return any_data


def check(data, **where) -> None:
    table = c2s.get.summary(data, **where)
    assert table.columns.tolist() == ["text", "n_cells", "n_genes", "n_members", "n_claims", *SHARES]
    assert table.index.tolist() == ["B cell", "T cell, CD4/CD8"]
    assert table["text"].tolist() == SUMMARIES["text"].tolist()
    assert table.loc["B cell", SHARES].tolist() == [0.5, 0.5, 0.0]
    assert table.loc["T cell, CD4/CD8", SHARES].isna().all()
    claims = c2s.get.claims(data, **where)
    assert claims.astype(str).to_dict("list") == CLAIMS.astype(str).to_dict("list")
    answers = c2s.get.summary(data, key="c2s_answer", **where)
    assert answers.columns.tolist()[:2] == ["question", "text"]
    assert answers[["proba_yes", "proba_n/o"]].to_numpy().tolist() == [[0.9, 0.1], [0.3, 0.7]]
    assert c2s.get.claims(data, key="c2s_answer", **where).empty


def test_tables(told) -> None:
    check(told.data, **told.where)


def test_tables_are_copies(told) -> None:
    c2s.get.summary(told.data, **told.where)["text"] = "x"
    c2s.get.claims(told.data, **told.where)["verdict"] = "x"
    check(told.data, **told.where)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_tables_after_a_file(told, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cells.{suffix}"
    getattr(told.adata, f"write_{suffix}")(path)
    check(getattr(ad, f"read_{suffix}")(path))


def test_tables_after_a_mudata_file(told, tmp_path: Path) -> None:
    if not told.where:
        pytest.skip("the file holds a MuData")
    import mudata

    told.data.write(tmp_path / "cells.h5mu")
    check(mudata.read_h5mu(tmp_path / "cells.h5mu"), mod="rna")


@pytest.mark.parametrize("table", [c2s.get.summary, c2s.get.claims])
def test_what_is_not_there(told, table) -> None:
    with pytest.raises(KeyError, match="uns has no texts 'mine'; run tl.summarize or tl.ask first"):
        table(told.data, key="mine", **told.where)
    told.adata.uns["mine"] = {"labels": ["B cell"]}
    with pytest.raises(KeyError, match="holds no summaries or answers with their claims"):
        table(told.data, key="mine", **told.where)


def test_probabilities_that_do_not_fit_the_choices(told) -> None:
    told.adata.uns["c2s_answer"]["choices"] = np.array(["yes"], dtype=object)
    with pytest.raises(ValueError, match="probabilities of 2 × 2 answers, and holds 2 groups and 1 choices"):
        c2s.get.summary(told.data, key="c2s_answer", **told.where)
