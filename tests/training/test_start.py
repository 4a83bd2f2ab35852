"""What training starts from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import get_peft_model

from sc_c2s.models import directory, gene_token_ids, load, nano
from sc_c2s.training import start
from sc_c2s.training.start import adapter_rate, choose

OPTIONS = {"lora_rank": 4, "device": "cpu", "dtype": "float32", "seed": 0}


@pytest.fixture
def earlier(tmp_path) -> Path:
    """A nano that ``tl.finetune`` wrote."""
    model, tokenizer = nano.build(["CD3D", "B"], width=16, n_layers=1, n_heads=2)
    model.save_pretrained(tmp_path / "nano")
    tokenizer.save_pretrained(tmp_path / "nano")
    card = directory.ModelCard(["annotate"], "cell_type", ["CD3D"], {}, "nano", labels=["B"])
    directory.write(tmp_path / "nano", card)
    return tmp_path / "nano"


def test_from_nothing() -> None:
    begin = choose("nano", **OPTIONS)
    assert (begin.small, begin.family, begin.peft_config, begin.precision) == (True, "nano", None, "fp32")
    assert begin.base["name"] == "nano"
    vectors = {"CD3D": np.arange(1.0, 9.0)}
    model, tokenizer = begin.open(["CD3D", "B"], vectors, False)
    again, _ = nano.build(["CD3D", "B"], embeddings=vectors, seed=0)
    torch.testing.assert_close(model.get_input_embeddings().weight, again.get_input_embeddings().weight)
    assert len(tokenizer("CD3D B")["input_ids"]) == 2


def test_the_precision_that_was_asked_for() -> None:
    assert choose("nano", **OPTIONS | {"dtype": "bfloat16"}).precision == "bf16"


@pytest.mark.parametrize("fast", [True, False])
def test_an_adapter_is_trained_in_bfloat16_where_the_machine_computes_in_it(pretrained, monkeypatch, fast) -> None:
    monkeypatch.setattr(start, "_computes_bfloat16", lambda device: fast)
    begin = choose(pretrained, **OPTIONS | {"dtype": "auto"})
    assert begin.precision == ("bf16" if fast else "fp32")
    assert begin.base["dtype"] == "float32", "the weights stay in 32 bits"
    assert choose(pretrained, **OPTIONS).precision == "fp32"


@pytest.mark.parametrize(("dtype", "precision"), [("bfloat16", "bf16"), ("float16", "fp32")])
def test_weights_that_have_fewer_bits_than_their_adapter(pretrained, dtype, precision) -> None:
    begin = choose(pretrained, **OPTIONS | {"dtype": dtype})
    assert (begin.base["dtype"], begin.precision) == (dtype, precision)


@pytest.mark.parametrize(("width", "rate"), [(64, 1e-3), (576, 1e-3), (2304, 5e-4)])
def test_wide_models_are_trained_slower(width, rate) -> None:
    assert adapter_rate(width) == pytest.approx(rate)


def test_the_rate_is_that_of_an_adapter(pretrained, earlier) -> None:
    assert choose(pretrained, **OPTIONS).rate == 1e-3
    assert choose(earlier, **OPTIONS).rate is None
    assert choose("nano", **OPTIONS).rate is None


def test_from_an_earlier_nano(earlier) -> None:
    begin = choose(earlier, **OPTIONS)
    assert (begin.small, begin.family, begin.peft_config) == (True, "nano", None)
    model, tokenizer = begin.open(["CD3D", "B", "new"], {"CD3D": np.ones(4)}, False)
    before = load(earlier, device="cpu")
    assert len(tokenizer("CD3D B new")["input_ids"]) == 3
    torch.testing.assert_close(
        model.get_input_embeddings().weight, before.model.get_input_embeddings().weight, rtol=0, atol=0
    )


def test_a_nano_that_only_reads_cannot_learn_to_write(earlier) -> None:
    with pytest.raises(ValueError, match="trained to read cells"):
        choose(earlier, **OPTIONS).open([], {}, True)
    model, _ = choose("nano", **OPTIONS).open(["CD3D", "B"], {}, True)
    assert nano.writes(model)
    assert model.get_output_embeddings().weight is not model.get_input_embeddings().weight


def test_from_a_pretrained_model(pretrained) -> None:
    begin = choose(pretrained, **OPTIONS)
    assert (begin.small, begin.family) == (False, "english")
    assert (begin.peft_config.r, begin.peft_config.lora_alpha) == (4, 8)
    model, tokenizer = begin.open(["CD3D"], {}, False)
    assert len(tokenizer("CD3D")["input_ids"]) > 1, "its tokenizer stays as it is"
    assert begin.base == {"name": str(pretrained), "revision": None, "dtype": "float32"}


def adapt(begin: start.Start, path: Path) -> torch.nn.Module:
    """Stands for a training: weights that are not zero."""
    model, tokenizer = begin.open([], {}, False)
    model = get_peft_model(model, begin.peft_config) if begin.peft_config else model
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.add_(torch.randn_like(weight))
    begin.save(model, tokenizer, path)
    return model


def test_an_adapter_finds_its_base_from_anywhere(pretrained, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = adapt(choose("base", **OPTIONS), tmp_path / "adapter")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(load(tmp_path / "adapter", device="cpu").model(ids).logits, model(ids).logits)


def test_an_adapter_is_trained_further(pretrained, tmp_path) -> None:
    first = adapt(choose(pretrained, **OPTIONS), tmp_path / "first")
    begin = choose(tmp_path / "first", **OPTIONS)
    assert begin.peft_config is None
    trainable = {name for name, weight in begin.open([], {}, False)[0].named_parameters() if weight.requires_grad}
    assert trainable
    assert all("lora" in name for name in trainable)
    second = adapt(begin, tmp_path / "second")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        opened = load(tmp_path / "second", device="cpu").model(ids).logits
        torch.testing.assert_close(opened, second(ids).logits, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(opened, first(ids).logits)


@pytest.mark.parametrize("tied", [False, True])
def test_a_copy_of_the_adapter_knows_the_genes_as_they_were_trained(
    make_llama, piece_tokenizer, tmp_path, tied
) -> None:
    """A trainer that compares a model with its start copies the adapter, all but the gene tokens."""
    make_llama(len(piece_tokenizer), tied=tied).save_pretrained(tmp_path / "base")
    piece_tokenizer.save_pretrained(tmp_path / "base")
    begin = choose(tmp_path / "base", **OPTIONS, reads=True)
    model, tokenizer = begin.open([], {}, False, ["GENE1", "GENE2"])
    ids = sorted(gene_token_ids(tokenizer).values())
    model = get_peft_model(model, begin.adapter(tokenizer))
    for name, weight in model.named_parameters():
        if "trainable_tokens_delta" in name:
            weight.data += 1
    begin.save(model, tokenizer, tmp_path / "first")
    further, _ = choose(tmp_path / "first", **OPTIONS, reads=True).open([], {}, False)
    further.add_adapter("ref", further.peft_config["default"])
    with torch.no_grad():
        trained = further(torch.tensor([[5, ids[0], 7, ids[1]]])).logits
        torch.testing.assert_close(trained, model(torch.tensor([[5, ids[0], 7, ids[1]]])).logits)
        further.set_adapter("ref")
        torch.testing.assert_close(further(torch.tensor([[5, ids[0], 7, ids[1]]])).logits, trained)


def test_gene_tokens_are_for_models_that_read(pretrained, tmp_path) -> None:
    assert choose(pretrained, **OPTIONS).family == "english"
    assert choose(pretrained, **OPTIONS, reads=True).family == "marked"
    assert choose(pretrained, **OPTIONS, reads=True, gene_tokens=False).family == "english"
    adapt(choose(pretrained, **OPTIONS), tmp_path / "adapter")
    begin = choose(tmp_path / "adapter", **OPTIONS, reads=True)
    assert begin.family == "english", "an adapter that came without gene tokens gets none"
    model, tokenizer = nano.build(["CD3D"], width=16, n_layers=1, n_heads=2)
    model.save_pretrained(tmp_path / "nano")
    tokenizer.save_pretrained(tmp_path / "nano")
    assert choose(tmp_path / "nano", **OPTIONS, reads=True).family == "english", "nor does a nano without a card"
    with pytest.raises(ValueError, match="for models that read cells and name them.*leave out gene_tokens="):
        choose(pretrained, **OPTIONS, gene_tokens=True)


def test_the_adapter_of_a_model_from_the_hub_names_its_commit(pretrained, tmp_path, monkeypatch) -> None:
    """Not the folder of the cache it was read from, which no other machine has."""
    from dataclasses import replace

    def pretend(source, **options):
        return replace(load(pretrained, device="cpu"), source=source, revision="0123abcd")

    monkeypatch.setattr(start, "load", pretend)
    adapt(choose("somebody/model", **OPTIONS), tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("somebody/model", "0123abcd")
