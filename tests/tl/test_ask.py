from __future__ import annotations

import anndata
import numpy as np
import pytest

import sc_c2s as c2s

KEY = "c2s_answer"


def test_a_free_answer_is_checked_like_a_summary(any_data, parrot):
    engine = parrot(lambda text: "They are B cells.")
    c2s.tl.ask(
        any_data.data, " What are they? ", model=engine, groupby="cell_type", label_key="cell_type", **any_data.where
    )
    found = any_data.adata.uns[KEY]
    assert (found["answers"]["question"] == "What are they?").all()
    verdicts = found["claims"].groupby("group")["verdict"].first()
    assert verdicts["B cell"] == "confirmed"
    assert verdicts["CD14+ monocyte"] == verdicts["T cell, CD4/CD8"] == "contradicted"
    assert all(one[-1]["content"].endswith("What are they?") for one in engine.heard)


def test_an_answer_to_choose_is_the_most_probable_one(any_data, parrot):
    engine = parrot()
    c2s.tl.ask(
        any_data.data,
        "Which gene?",
        model=engine,
        groupby="cell_type",
        choices=["GENE0", "GENE4", "GENE8"],
        n_genes=3,
        **any_data.where,
    )
    found = any_data.adata.uns[KEY]
    # The mock counts how often an answer stands in the prompt, and each type shows its own genes.
    assert found["answers"]["text"].tolist() == ["GENE0", "GENE4", "GENE8"]
    assert list(found["choices"]) == ["GENE0", "GENE4", "GENE8"]
    assert found["proba"].shape == (3, 3)
    assert np.allclose(found["proba"].sum(axis=1), 1)
    assert (found["proba"].argmax(axis=1) == [0, 1, 2]).all()
    assert engine.heard == []


def test_questions_before_are_shown_again(adata, parrot):
    engine = parrot(lambda text: "yes")
    c2s.tl.ask(adata, "And now?", model=engine, history=[("What are they?", "cells")])
    [turns] = engine.heard
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    assert turns[1]["content"].endswith("What are they?")
    assert turns[2]["content"] == "cells"
    assert turns[3]["content"] == "And now?"
    assert adata.uns[KEY]["answers"].index.tolist() == ["all cells"]


def test_answers_survive_a_file(adata, parrot, tmp_path):
    c2s.tl.ask(adata, "Which?", model=parrot(), groupby="cell_type", choices=["a/b", "c"])
    adata.write_h5ad(tmp_path / "cells.h5ad")
    back = anndata.read_h5ad(tmp_path / "cells.h5ad").uns[KEY]
    assert list(back["choices"]) == ["a/b", "c"]
    assert np.allclose(back["proba"], adata.uns[KEY]["proba"])
    assert back["answers"]["text"].tolist() == adata.uns[KEY]["answers"]["text"].tolist()


def test_anndata_and_mudata_say_the_same(adata, mdata, parrot):
    c2s.tl.ask(adata, "What?", model=parrot(str.upper), groupby="cell_type")
    c2s.tl.ask(mdata, "What?", mod="rna", model=parrot(str.upper), groupby="cell_type")
    assert adata.uns[KEY]["answers"].equals(mdata["rna"].uns[KEY]["answers"])


@pytest.mark.parametrize(
    ("question", "how", "message"),
    [
        ("  ", {}, "The question is empty"),
        ("What?", {"choices": ["one"]}, "fewer than two different answers"),
        ("What?", {"choices": ["one", "one"]}, "fewer than two different answers"),
    ],
)
def test_bad_input_is_told_in_a_sentence(adata, parrot, question, how, message):
    with pytest.raises(ValueError, match=message):
        c2s.tl.ask(adata, question, model=parrot(), **how)


def test_one_text_is_no_list_of_answers(adata, parrot):
    with pytest.raises(TypeError, match="choices='yes' is one text; give a list of answers"):
        c2s.tl.ask(adata, "What?", model=parrot(), choices="yes")


def test_a_real_model_chooses_the_same_in_any_batch(adata, pretrained):
    for batch_size in (1, 3):
        c2s.tl.ask(
            adata,
            "Which?",
            model=pretrained,
            groupby="cell_type",
            choices=["GENE1", "GENE22", "x"],
            n_cells=3,
            n_genes=5,
            batch_size=batch_size,
            key_added=f"by_{batch_size}",
        )
    assert np.allclose(adata.uns["by_1"]["proba"], adata.uns["by_3"]["proba"], atol=1e-5)
