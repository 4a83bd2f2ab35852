"""What training starts from: nothing, an earlier nano, or a pretrained model with an adapter."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sc_c2s.models import LoadedModel, directory, load, nano
from sc_c2s.models.load import _computes_bfloat16, _device

NANO = "nano"
ADAPTER = "adapter_config.json"

Open = Callable[[list[str], dict[str, np.ndarray], bool], tuple[Any, Any]]


@dataclass(frozen=True)
class Start:
    """A model to be trained, not yet opened.

    Attributes
    ----------
    open
        Gives model and tokenizer; takes the words that should be one token each, where some of them start, and whether
        genes are to be written as well as read.
    base
        Name, source and revision, for the model card.
    family
        Prompt family the model reads.
    small
        Whether it is a nano: all of it is trained, on whole cells.
    peft_config
        Adapter to train; ``None`` to train what can be trained: all weights, or the adapter of an earlier run.
    precision
        ``"bf16"`` to compute in bfloat16 with weights in 32 bits.
    new_words
        Gives those of some words that have no token of their own; a model with prose has none of its own for any.
    home
        What an adapter will ask for when it is opened, from wherever that happens: the name or the directory of its
        base.
    """

    open: Open
    base: dict[str, Any]
    family: str
    small: bool
    peft_config: Any
    precision: str
    new_words: Callable[[list[str]], list[str]] = list
    home: str | None = None

    def save(self, model: Any, tokenizer: Any, path: Path) -> None:
        """Write what was trained."""
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        if self.home is not None:
            config = model.peft_config[model.active_adapter]
            config.base_model_name_or_path, config.inference_mode = self.home, True
            config.save_pretrained(path)


def choose(model: str | Path, *, lora_rank: int, device: str, dtype: str, seed: int) -> Start:
    """Find out what a user asked to start from."""
    if str(model) == NANO:
        return _from_nothing(device=device, dtype=dtype, seed=seed)
    # Known before the weights are read: a nano keeps all its weights in the directory, a large model may not.
    loaded = load(model, device=device, dtype=dtype)
    known = directory.is_model_directory(loaded.path)
    family = directory.read(loaded.path).family if known else "english"
    small = nano.is_nano(loaded.tokenizer)
    adapted = (loaded.path / ADAPTER).is_file()

    def reopen(words: list[str], embeddings: dict[str, np.ndarray], writes: bool) -> tuple[Any, Any]:
        if small and writes and not nano.writes(loaded.model):
            raise ValueError(
                f"{str(model)!r} was trained to read cells, not to write them: start from model='nano', with "
                "task=['annotate', 'generate'] for both."
            )
        if small:
            nano.add_words(loaded.model, loaded.tokenizer, words)
        elif adapted:
            return _with_adapter(loaded.path, device=device, dtype=dtype), loaded.tokenizer
        return loaded.model, loaded.tokenizer

    return Start(
        open=reopen,
        base={"name": str(model), "revision": loaded.revision, "dtype": loaded.dtype},
        family=family,
        small=small,
        peft_config=None if small or adapted else _lora(lora_rank, loaded.revision),
        precision="fp32",
        new_words=partial(nano.new_words, loaded.tokenizer) if small else list,
        home=None if small else _home(loaded, adapted=adapted),
    )


def _from_nothing(*, device: str, dtype: str, seed: int) -> Start:
    on = _device(device)
    fast = _computes_bfloat16(on) if dtype == "auto" else dtype == "bfloat16"

    def build(words: list[str], embeddings: dict[str, np.ndarray], writes: bool) -> tuple[Any, Any]:
        model, tokenizer = nano.build(words, embeddings=embeddings, writes=writes, seed=seed)
        return model.to(on), tokenizer

    return Start(
        open=build,
        base={"name": NANO, "revision": None, "dtype": "float32"},
        family="nano",
        small=True,
        peft_config=None,
        precision="bf16" if fast else "fp32",
    )


def _home(loaded: LoadedModel, *, adapted: bool) -> str:
    if adapted:
        return json.loads((loaded.path / ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"]
    return loaded.source if loaded.revision else str(loaded.path.resolve())


def _lora(rank: int, revision: str | None) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM", revision=revision
    )


def _with_adapter(path: Path, *, device: str, dtype: str) -> Any:
    """Open an adapter to be trained further, on the base it was made for."""
    from peft import PeftConfig, PeftModel

    config = PeftConfig.from_pretrained(str(path))
    base = load(config.base_model_name_or_path, device=device, dtype=dtype, revision=config.revision)
    model = PeftModel.from_pretrained(base.model, str(path), is_trainable=True)
    # Whenever PEFT saves, it looks up the base: in its directory rather than on the network.
    model.peft_config[model.active_adapter].base_model_name_or_path = str(base.path)
    return model
