from __future__ import annotations

import anndata
import mudata
import numpy as np
import pytest

import sc_c2s as c2s
from sc_c2s.engine import Speaker

KEY = "c2s_summary"
TEXT = "These are B cells (100%). They express GENE0 and no GENE4, and there are no monocytes."


def cells_of(conversation) -> list[list[str]]:
    lines = conversation[-1]["content"].splitlines()
    return [line.partition(": ")[2].split() for line in lines if line.split(":")[0].isdigit()]


def summarize(any_data, model, **how):
    c2s.tl.summarize(any_data.data, model=model, **{"groupby": "cell_type", "n_cells": 6, **how}, **any_data.where)
    return any_data.adata.uns[how.get("key_added", KEY)]


def test_the_mock_is_what_engines_are(parrot):
    assert isinstance(parrot(), Speaker)


def test_every_group_gets_a_text_with_its_claims(any_data, parrot):
    found = summarize(any_data, parrot(lambda text: TEXT), label_key="cell_type")
    assert found["summaries"].index.tolist() == ["B cell", "CD14+ monocyte", "T cell, CD4/CD8"]
    assert (found["summaries"]["text"] == TEXT).all()
    assert found["summaries"]["n_cells"].tolist() == [6, 6, 6]
    assert found["summaries"]["n_members"].tolist() == [20, 20, 20]
    of_b = found["claims"][found["claims"]["group"] == "B cell"]
    assert of_b["verdict"].eq("confirmed").any()
    of_t = found["claims"][found["claims"]["group"] == "T cell, CD4/CD8"]
    assert of_t.set_index("words")["verdict"].to_dict() != of_b.set_index("words")["verdict"].to_dict()
    shares = found["summaries"][["confirmed", "contradicted", "not_checkable"]].sum(axis=1)
    assert np.allclose(shares, 1)
    for _, claim in found["claims"].iterrows():
        assert TEXT[claim["start"] : claim["end"]] == claim["words"]


def test_cells_are_shown_as_they_are(any_data, parrot):
    engine = parrot()
    summarize(any_data, engine, n_genes=4, groups=["B cell"])
    [conversation] = engine.heard
    shown = cells_of(conversation)
    assert len(shown) == 6
    assert all(len(cell) == 4 for cell in shown)
    # Their own four genes are those that are highest.
    assert np.mean([gene in {"GENE0", "GENE1", "GENE2", "GENE3"} for cell in shown for gene in cell]) > 0.9


def test_anndata_and_mudata_say_the_same(adata, mdata, parrot):
    c2s.tl.summarize(adata, model=parrot(str.upper), groupby="cell_type")
    c2s.tl.summarize(mdata, mod="rna", model=parrot(str.upper), groupby="cell_type")
    one, other = adata.uns[KEY], mdata["rna"].uns[KEY]
    assert one["summaries"].equals(other["summaries"])
    assert one["claims"].equals(other["claims"])


def test_what_is_said_of_a_group_does_not_depend_on_others_or_on_their_order(adata, parrot):
    both, alone = parrot(), parrot()
    c2s.tl.summarize(adata, model=both, groupby="cell_type", groups=["T cell, CD4/CD8", "B cell"])
    c2s.tl.summarize(adata, model=alone, groupby="cell_type", groups=["B cell"])
    assert both.heard[1] == alone.heard[0]
    assert both.seeds[1] == alone.seeds[0]


def test_the_order_of_the_cells_does_not_matter(adata, parrot):
    one, other = parrot(str.upper), parrot(str.upper)
    turned = adata[np.random.default_rng(1).permutation(adata.n_obs)].copy()
    for data, engine in ((adata, one), (turned, other)):
        c2s.tl.summarize(
            data, model=engine, groupby="cell_type", n_cells=5, sample_key="donor", label_key="cell_type", evidence=True
        )
    assert one.heard == other.heard
    assert adata.uns[KEY]["summaries"].equals(turned.uns[KEY]["summaries"])


def test_the_seed_draws_the_cells(adata, parrot):
    engines = [parrot(), parrot(), parrot()]
    for engine, seed in zip(engines, (0, 0, 1), strict=True):
        c2s.tl.summarize(adata, model=engine, groupby="cell_type", n_cells=5, rng=seed)
    assert engines[0].heard == engines[1].heard != engines[2].heard


def test_evidence_is_shown_if_it_is_wanted(adata, parrot):
    adata.obs["site"] = np.where(adata.obs["cell_type"] == "B cell", "blood", "spleen")
    for evidence in (False, True):
        engine = parrot()
        c2s.tl.summarize(
            adata,
            model=engine,
            groupby="cell_type",
            groups=["B cell"],
            label_key="cell_type",
            context=["site"],
            evidence=evidence,
        )
        text = engine.heard[0][-1]["content"]
        assert ("Cell types: 100% B cell." in text) is evidence
        assert ("site: 100% blood." in text) is evidence
        assert ("Genes higher than in other cells: GENE" in text) is evidence


def test_genes_are_left_out_until_the_prompt_fits(adata, parrot):
    engine = parrot(context=200)
    c2s.tl.summarize(adata, model=engine, groupby="cell_type", n_cells=10, n_genes=12, max_tokens=20)
    shown = adata.uns[KEY]["summaries"]["n_genes"].unique()
    assert len(shown) == 1
    assert 5 <= shown[0] < 12
    lengths = engine.count([engine.written(one) for one in engine.heard])
    assert lengths.max() + 20 <= 200
    # One gene more would not have fitted.
    assert lengths.max() + 10 + 20 > 200
    said = engine.heard[0][-1]["content"].splitlines()[0]
    assert f"the {shown[0]} most active genes" in said


def test_what_cannot_fit_is_refused(adata, parrot):
    with pytest.raises(ValueError, match="do not fit into the model's context of 60 tokens: show fewer"):
        c2s.tl.summarize(adata, model=parrot(context=60), groupby="cell_type", n_cells=10, max_tokens=8)
    assert KEY not in adata.uns


def test_all_cells_are_one_group_without_groupby(adata, parrot):
    c2s.tl.summarize(adata, model=parrot(lambda text: "x"), groupby=None)
    assert adata.uns[KEY]["summaries"].index.tolist() == ["all cells"]
    assert adata.uns[KEY]["summaries"]["n_members"].tolist() == [adata.n_obs]


def test_predicted_labels_stand_in_for_a_label_column(adata, parrot):
    c2s.tl.summarize(adata, model=parrot(lambda text: "B cells."), groupby="donor")
    assert set(adata.uns[KEY]["claims"]["verdict"]) <= {"not checkable"}
    adata.obs["c2s_cell_type"] = adata.obs["cell_type"]
    c2s.tl.summarize(adata, model=parrot(lambda text: "B cells."), groupby="donor")
    assert adata.uns[KEY]["params"]["label_key"] == "c2s_cell_type"
    assert set(adata.uns[KEY]["claims"]["verdict"]) == {"confirmed"}


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_results_survive_a_file(adata, parrot, tmp_path, suffix):
    c2s.tl.summarize(adata, model=parrot(lambda text: TEXT), groupby=["cell_type", "donor"], label_key="cell_type")
    path = tmp_path / f"cells.{suffix}"
    getattr(adata, f"write_{suffix}")(path)
    back = getattr(anndata, f"read_{suffix}")(path).uns[KEY]
    for name in ("summaries", "claims"):
        assert back[name].astype(str).equals(adata.uns[KEY][name].astype(str))
    assert list(back["params"]["groupby"]) == ["cell_type", "donor"]


def test_results_survive_an_h5mu_file(mdata, parrot, tmp_path):
    c2s.tl.summarize(mdata, mod="rna", model=parrot(lambda text: TEXT), groupby="cell_type", key_added="said")
    mdata.write_h5mu(tmp_path / "cells.h5mu")
    back = mudata.read_h5mu(tmp_path / "cells.h5mu")["rna"].uns["said"]
    assert back["summaries"]["text"].tolist() == [TEXT] * 3


def test_texts_without_claims_survive_a_file(any_data, parrot, tmp_path):
    summarize(any_data, parrot(lambda text: ""), groupby="donor")
    if any_data.where:
        any_data.data.write_h5mu(tmp_path / "cells.h5mu")
        back = mudata.read_h5mu(tmp_path / "cells.h5mu")["rna"]
    else:
        any_data.data.write_h5ad(tmp_path / "cells.h5ad")
        back = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert back.uns[KEY]["summaries"]["text"].tolist() == [""] * 4
    assert back.uns[KEY]["summaries"]["confirmed"].isna().all()
    assert list(back.uns[KEY]["claims"].columns) == list(any_data.adata.uns[KEY]["claims"].columns)
    assert back.uns[KEY]["claims"].empty


@pytest.mark.parametrize("groups", ["CD14+ monocyte", ["CD14+ monocyte"] * 2, np.array(["CD14+ monocyte"])])
def test_a_group_is_told_of_once_however_it_is_named(adata, parrot, groups):
    c2s.tl.summarize(adata, model=parrot(), groupby="cell_type", groups=groups)
    assert adata.uns[KEY]["summaries"].index.tolist() == ["CD14+ monocyte"]


def test_no_group_at_all_is_refused(adata, parrot):
    with pytest.raises(ValueError, match="groups= is empty: name some, or None for all"):
        c2s.tl.summarize(adata, model=parrot(), groupby="cell_type", groups=[])


def test_a_copy_leaves_the_original_alone(any_data, parrot):
    made = c2s.tl.summarize(any_data.data, model=parrot(), groupby="cell_type", copy=True, **any_data.where)
    assert KEY not in any_data.adata.uns
    assert KEY in (made[any_data.where["mod"]] if any_data.where else made).uns


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"groupby": "nothing"}, KeyError, "no column 'nothing'"),
        ({"groups": ["Z"]}, ValueError, "no group 'Z'; there are 'B cell'"),
        ({"style": "poem"}, ValueError, "no style 'poem'"),
        ({"n_cells": 0}, ValueError, "n_cells=0"),
        ({"label_key": "nothing"}, KeyError, "no column 'nothing'"),
        ({"context": ["nothing"]}, KeyError, "no column 'nothing'"),
    ],
)
def test_bad_input_is_told_in_a_sentence(adata, parrot, how, error, message):
    with pytest.raises(error, match=message):
        c2s.tl.summarize(adata, model=parrot(), **{"groupby": "cell_type", **how})
    assert KEY not in adata.uns


def test_a_real_model_says_the_same_in_any_batch(adata, pretrained):
    for batch_size in (1, 3):
        c2s.tl.summarize(
            adata,
            model=pretrained,
            groupby="cell_type",
            n_cells=3,
            n_genes=5,
            max_tokens=8,
            batch_size=batch_size,
            key_added=f"by_{batch_size}",
        )
    assert adata.uns["by_1"]["summaries"].equals(adata.uns["by_3"]["summaries"])
    assert adata.uns["by_1"]["summaries"]["text"].str.len().gt(0).all()
