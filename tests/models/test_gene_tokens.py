"""One token a gene: where it starts, what is read with it, and what stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file
from tokenizers import AddedToken

from sc_c2s.engine import LocalEngine
from sc_c2s.models import LoadedModel, add_gene_tokens, gene_token_ids, load, nano
from sc_c2s.prompts import annotate_prompt

GENES = ["GENE3", "CD4", "B220 (CD45R)", "HLA-A"]
PROSE = "CD4 T cells and GENE3 (HLA-A) of <b>one</b> cell: B220 (CD45R)+, a < CD4 > b"


@pytest.fixture(params=["tied", "untied"])
def loaded(request: pytest.FixtureRequest, make_llama: Any, piece_tokenizer: Any, tmp_path: Path) -> LoadedModel:
    make_llama(len(piece_tokenizer), tied=request.param == "tied").save_pretrained(tmp_path / "base")
    piece_tokenizer.save_pretrained(tmp_path / "base")
    return load(tmp_path / "base", device="cpu")


def tables(model: Any) -> list[np.ndarray]:
    both = (model.get_input_embeddings(), model.get_output_embeddings())
    return [table.weight.detach().float().numpy().copy() for table in both]


def test_a_gene_starts_at_the_mean_of_its_pieces(loaded: LoadedModel) -> None:
    before = tables(loaded.model)
    model = add_gene_tokens(loaded, GENES)
    ids = gene_token_ids(model.tokenizer)
    assert list(ids) == GENES
    for old, new in zip(before, tables(model.model), strict=True):
        np.testing.assert_array_equal(new[: len(old)], old)
        for gene, word in zip(GENES, ["GENE3", "CD4", "B220%20(CD45R)", "HLA-A"], strict=True):
            pieces = loaded.tokenizer(f": {word}")["input_ids"][1:]
            assert loaded.tokenizer.decode(pieces) == f" {word}"
            assert len(pieces) > 1
            np.testing.assert_allclose(new[ids[gene]], old[pieces].mean(axis=0), rtol=1e-6)


def test_tied_tables_stay_one(loaded: LoadedModel) -> None:
    tied = loaded.model.config.tie_word_embeddings
    model = add_gene_tokens(loaded, GENES).model
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied
    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == len(loaded.tokenizer) + len(GENES)


def test_a_gene_is_one_token(loaded: LoadedModel) -> None:
    model = add_gene_tokens(loaded, GENES)
    ids = gene_token_ids(model.tokenizer)
    sentence = "CD4 HLA-A GENE3 B220%20(CD45R)"
    read = model.tokenizer(annotate_prompt(sentence, family="marked"))["input_ids"]
    bare = model.tokenizer(annotate_prompt("", family="marked").replace("0", "4"))["input_ids"]
    assert [i for i in read if i in ids.values()] == [ids[g] for g in ["CD4", "HLA-A", "GENE3", "B220 (CD45R)"]]
    # But for the space behind "first:", which belongs to the gene that follows, the words around are the same.
    assert len(read) == len(bare) - 1 + len(ids)


def test_prose_is_read_as_before(loaded: LoadedModel) -> None:
    model = add_gene_tokens(loaded, GENES)
    assert model.tokenizer(PROSE)["input_ids"] == loaded.tokenizer(PROSE)["input_ids"]
    plain = annotate_prompt("CD4 GENE3", family="english", groupby="CD4 state")
    assert model.tokenizer(plain)["input_ids"] == loaded.tokenizer(plain)["input_ids"]


def test_the_tokenizer_that_was_given_stays(loaded: LoadedModel) -> None:
    add_gene_tokens(loaded, GENES)
    assert gene_token_ids(loaded.tokenizer) == {}
    assert len(loaded.tokenizer("<CD4>")["input_ids"]) > 1


def test_a_second_call_adds_only_new_genes(loaded: LoadedModel) -> None:
    model = add_gene_tokens(loaded, GENES[:2])
    ids = gene_token_ids(model.tokenizer)
    with torch.no_grad():
        model.model.get_input_embeddings().weight[ids["CD4"]] = 7.0
    more = add_gene_tokens(model, [*GENES, "GENE3"])
    assert list(gene_token_ids(more.tokenizer)) == GENES
    assert gene_token_ids(more.tokenizer).items() >= ids.items()
    assert (tables(more.model)[0][ids["CD4"]] == 7).all(), "what was learned is kept"


def test_room_that_a_table_has_is_used(make_llama: Any, piece_tokenizer: Any, tmp_path: Path) -> None:
    """Tables are often longer than the vocabulary, for the sake of the hardware."""
    make_llama(len(piece_tokenizer) + 10).save_pretrained(tmp_path)
    piece_tokenizer.save_pretrained(tmp_path)
    model = add_gene_tokens(load(tmp_path, device="cpu"), GENES)
    assert model.model.get_input_embeddings().num_embeddings == len(piece_tokenizer) + 10
    pieces = piece_tokenizer(": CD4")["input_ids"][1:]
    weight = tables(model.model)[0]
    np.testing.assert_allclose(weight[gene_token_ids(model.tokenizer)["CD4"]], weight[pieces].mean(axis=0), rtol=1e-6)


def test_random_numbers_are_left_alone(loaded: LoadedModel) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    add_gene_tokens(loaded, GENES)
    assert torch.rand(1) == expected


def test_an_adapter_with_gene_tokens_is_opened_as_it_was(loaded: LoadedModel, tmp_path: Path) -> None:
    model = add_gene_tokens(loaded, GENES)
    ids = sorted(gene_token_ids(model.tokenizer).values())
    config = LoraConfig(
        r=2, target_modules="all-linear", task_type="CAUSAL_LM", trainable_token_indices=ids, init_lora_weights=False
    )
    adapted = get_peft_model(model.model, config).eval()
    generator = torch.Generator().manual_seed(0)
    for name, weight in adapted.named_parameters():
        if "trainable_tokens" in name:
            weight.data += torch.randn(weight.shape, generator=generator)
    adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    model.tokenizer.save_pretrained(tmp_path / "adapter")
    again = load(tmp_path / "adapter", device="cpu")
    assert gene_token_ids(again.tokenizer) == gene_token_ids(model.tokenizer)
    prompts = [annotate_prompt(sentence, family="marked") for sentence in ("CD4 GENE3", "HLA-A CD4 B220%20(CD45R)")]
    np.testing.assert_allclose(
        LocalEngine(again.model, again.tokenizer).score(prompts, [" CD4 T cell", " GENE3 cell", " <CD4>"]),
        LocalEngine(adapted, model.tokenizer).score(prompts, [" CD4 T cell", " GENE3 cell", " <CD4>"]),
        rtol=1e-5,
        atol=1e-4,
    )
    tied = again.model.config.tie_word_embeddings
    assert (again.model.get_input_embeddings().weight is again.model.get_output_embeddings().weight) == tied
    stored = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert max(len(x) for name, x in stored.items() if "embed" in name or "head" in name) == len(GENES)


def test_what_cannot_be_a_gene_token(loaded: LoadedModel) -> None:
    with pytest.raises(TypeError, match="is one text; give a list"):
        add_gene_tokens(loaded, "CD4")
    with pytest.raises(ValueError, match="empty name; leave it out"):
        add_gene_tokens(loaded, ["CD4", ""])
    with pytest.raises(ValueError, match="gene 'pad' would be the word '<pad>'.*leave it out"):
        add_gene_tokens(loaded, ["CD4", "pad"])
    assert len(loaded.tokenizer) == loaded.model.get_input_embeddings().num_embeddings, "nothing was done"


def test_a_word_of_the_model_itself_is_no_gene(loaded: LoadedModel) -> None:
    loaded.tokenizer.add_tokens([AddedToken("<think>", normalized=False)])
    assert gene_token_ids(loaded.tokenizer) == {}


def test_a_nano_needs_none() -> None:
    model, tokenizer = nano.build(["CD4"], width=16, n_layers=1, n_heads=2)
    loaded = LoadedModel(model, tokenizer, "nano", Path(), None, "float32", "cpu")
    with pytest.raises(ValueError, match=r"one token for every gene by itself: .*nano\.add_words"):
        add_gene_tokens(loaded, ["CD3D"])
