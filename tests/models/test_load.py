"""Opening models from directories and the hub."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import errors
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from sc_c2s.engine import LocalEngine
from sc_c2s.models.load import load
from sc_c2s.models.nano import build

MODULE = importlib.import_module("sc_c2s.models.load")  # the package has the function under this name
WORDS = ["CD3D", "IL7R", "CD4", "<cell>", "</cell>", ":", "T", "B"]
PROMPT, ANSWERS = "<cell> CD3D IL7R </cell> :", [" T", " B"]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    model, tokenizer = build(WORDS, width=16, n_layers=1, n_heads=2, seed=3)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def test_directory(saved: Path) -> None:
    loaded = load(saved, device="cpu")
    original, tokenizer = build(WORDS, width=16, n_layers=1, n_heads=2, seed=3)
    assert (loaded.source, loaded.revision, loaded.dtype, loaded.device) == (str(saved), None, "float32", "cpu")
    assert not loaded.model.training
    np.testing.assert_allclose(
        LocalEngine(loaded.model, loaded.tokenizer).score([PROMPT], ANSWERS),
        LocalEngine(original, tokenizer).score([PROMPT], ANSWERS),
        atol=1e-6,
    )


def test_a_directory_never_touches_the_network(saved: Path) -> None:
    """In a fresh process without any offline switch, where every attempt to look up or connect is an error."""
    script = """
        import socket, sys
        def refuse(*args, **kwargs):
            raise AssertionError(f"network: {args}")
        socket.getaddrinfo = socket.socket.connect = socket.create_connection = refuse
        from sc_c2s.models.load import load
        print(load(sys.argv[1], device="cpu").dtype)
    """
    environment = {k: v for k, v in os.environ.items() if k not in {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(saved)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.stdout.strip() == "float32", done.stderr
    assert "network" not in done.stderr


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtype(saved: Path, dtype: str) -> None:
    loaded = load(saved, device="cpu", dtype=dtype)
    assert loaded.dtype == dtype
    assert {str(p.dtype) for p in loaded.model.parameters()} == {f"torch.{dtype}"}


@pytest.mark.parametrize(
    ("fast", "small", "dtype"), [(True, False, "bfloat16"), (True, True, "float32"), (False, False, "float32")]
)
def test_auto_dtype(saved: Path, monkeypatch: pytest.MonkeyPatch, fast: bool, small: bool, dtype: str) -> None:
    monkeypatch.setattr(MODULE, "_computes_bfloat16", lambda device: fast)
    if not small:
        monkeypatch.setattr(MODULE, "_SMALL", 10)
    assert load(saved, device="cpu").dtype == dtype


def test_wrong_dtype_and_device(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no dtype 'int8' for weights; use 'auto', 'float32'"):
        load(saved, device="cpu", dtype="int8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no GPU that torch can use.*device='cpu'"):
        load(saved, device="cuda")


def test_adapter(saved: Path, tmp_path: Path) -> None:
    loaded = load(saved, device="cpu")
    base = LocalEngine(loaded.model, loaded.tokenizer).score([PROMPT], ANSWERS)
    adapted = get_peft_model(
        loaded.model, LoraConfig(r=2, init_lora_weights=False, target_modules=["q_proj", "o_proj"])
    )
    expected = LocalEngine(adapted, loaded.tokenizer).score([PROMPT], ANSWERS)
    adapted.save_pretrained(tmp_path)
    again = load(tmp_path, device="cpu")
    scores = LocalEngine(again.model, again.tokenizer).score([PROMPT], ANSWERS)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.abs(scores - base).max() > 1e-4


def test_adapter_without_its_base(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", None)
    adapted = get_peft_model(load(saved, device="cpu").model, LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.save_pretrained(tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "nobody/not-cached"}))
    with pytest.raises(FileNotFoundError, match=r"needs its base model 'nobody/not-cached'.*models\.load\("):
        load(tmp_path, device="cpu")


@pytest.mark.parametrize("path", ["/no/such/model", "./model", "~/no such model", "a/b/c", Path("model")])
def test_missing_directory(path: str | Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no directory .*; check the path"):
        load(path)


def test_file_in_place_of_a_directory(saved: Path) -> None:
    with pytest.raises(NotADirectoryError, match="is a file; give the directory"):
        load(saved / "config.json")


def test_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no config\.json in it"):
        load(tmp_path)


def test_pickled_weights(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    torch.save(weights, copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"pickled weights \(\.bin\).*save_pretrained"):
        load(copied)


def test_no_weights(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no weights: there is no \.safetensors"):
        load(copied)


def test_incomplete_weights(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 1 of the model's tensors .*'model\.norm\.weight'"):
        load(copied)


def test_no_tokenizer(copied: Path) -> None:
    for file in copied.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match="holds no tokenizer; save the one of the model"):
        load(copied)


def test_no_code_of_others_is_run(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    code = "raise SystemExit('code of the model was run')"
    (copied / "modeling_evil.py").write_text(code)
    evil = {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "modeling_evil.C", "AutoModelForCausalLM": "modeling_evil.M"},
    }
    (copied / "config.json").write_text(json.dumps(config | evil))
    with pytest.raises(ValueError, match="trust_remote_code|model type"):
        load(copied)


def test_revision_of_a_directory(saved: Path) -> None:
    with pytest.raises(ValueError, match="has no revision"):
        load(saved, revision="main")


def test_hub_id_records_the_commit(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    asked = {}

    def snapshot(hub_id: str, **options: object) -> str:
        asked.update(options, hub_id=hub_id)
        return shutil.copytree(saved, tmp_path / "snapshots" / commit)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    loaded = load("somebody/some-model", device="cpu", revision="main")
    assert (loaded.source, loaded.revision) == ("somebody/some-model", commit)
    assert (asked["hub_id"], asked["revision"]) == ("somebody/some-model", "main")
    assert not any(pattern.endswith((".bin", ".py", ".pt", "*")) for pattern in asked["allow_patterns"])


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (errors.RepositoryNotFoundError, FileNotFoundError, "neither a directory here nor a model on the hub"),
        (errors.GatedRepoError, PermissionError, "accept it at https://huggingface.co/somebody/model and log in"),
        (errors.RevisionNotFoundError, ValueError, "has no revision 'v9'"),
        (errors.LocalEntryNotFoundError, FileNotFoundError, "cannot be downloaded now; give the path of a copy"),
        (ConnectionError, FileNotFoundError, "cannot be downloaded now"),
    ],
)
def test_hub_errors_are_one_sentence(
    raised: type[Exception], kind: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise raised.__new__(raised)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(kind, match=message) as error:
        load("somebody/model", revision="v9")
    assert str(error.value).count(". ") == 0


def test_opens_with_plain_transformers(saved: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(saved)
    assert model.num_parameters() == load(saved, device="cpu").model.num_parameters()
