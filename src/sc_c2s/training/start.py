"""What training starts from: nothing, an earlier nano, or a pretrained model with an adapter."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sc_c2s.models import LoadedModel, add_gene_tokens, directory, gene_token_ids, load, nano
from sc_c2s.models.load import _computes_bfloat16, _device
from sc_c2s.prompts import ENGLISH, MARKED

NANO = "nano"
ADAPTER = "adapter_config.json"
RATE, WIDTH = 1e-3, 576
"""Learning rate that was found to suit an adapter of a model of this width (SmolLM2-135M)."""

Open = Callable[..., tuple[Any, Any]]


@dataclass(frozen=True)
class Start:
    """A model to be trained, not yet opened.

    Attributes
    ----------
    open
        Gives model and tokenizer; takes the words that should be one token each, where some of them start, whether
        genes are to be written as well as read, and the genes, for a pretrained model that gives them tokens.
    base
        Name, source and revision, for the model card.
    family
        Prompt family the model reads.
    small
        Whether it is a nano: all of it is trained, on whole cells.
    peft_config
        Adapter to train; ``None`` to train what can be trained: all weights, or the adapter of an earlier run.
    precision
        ``"bf16"`` to compute in bfloat16 where weights, or those of an adapter, have 32 bits.
    rate
        Learning rate that suits an adapter, see :func:`adapter_rate`; ``None`` for a nano, whose rate follows from its task.
    new_words
        Gives those of some words that have no token of their own; a model with prose has none of its own for any.
    home
        What an adapter will ask for when it is opened, from wherever that happens: the name or the directory of its
        base.
    genes
        Genes that the tokens of an earlier run are of: it can read no other.
    """

    open: Open
    base: dict[str, Any]
    family: str
    small: bool
    peft_config: Any
    precision: str
    rate: float | None = None
    new_words: Callable[[list[str]], list[str]] = list
    home: str | None = None
    genes: tuple[str, ...] = ()

    def adapter(self, tokenizer: Any) -> Any:
        """Adapter to train, together with the vectors of the gene tokens; ``None`` without one."""
        if self.peft_config is None or self.family != MARKED.name:
            return self.peft_config
        config = copy(self.peft_config)
        config.trainable_token_indices = sorted(gene_token_ids(tokenizer).values())
        return config

    def save(self, model: Any, tokenizer: Any, path: Path) -> None:
        """Write what was trained; of the embeddings of an adapted model, the gene tokens."""
        model.save_pretrained(path, **({} if self.home is None else {"save_embedding_layers": False}))
        tokenizer.save_pretrained(path)
        if self.home is not None:
            config = model.peft_config[model.active_adapter]
            config.base_model_name_or_path, config.inference_mode = self.home, True
            config.save_pretrained(path)


def choose(
    model: str | Path,
    *,
    lora_rank: int,
    device: str,
    dtype: str,
    seed: int,
    reads: bool = False,
    gene_tokens: bool | None = None,
) -> Start:
    """Find out what a user asked to start from.

    Parameters
    ----------
    model
        ``"nano"``, or a directory or hub id.
    lora_rank
        Rank of a new adapter.
    device, dtype, seed
        Where and how to train.
    reads
        Whether genes are read and never written.
    gene_tokens
        Whether a pretrained model gets one token a gene; by default where it only reads them, and as before where training
        goes on.
    """
    if str(model) == NANO:
        _check_nano(gene_tokens)
        return _from_nothing(device=device, dtype=dtype, seed=seed)
    # Known before the weights are read: a nano keeps all its weights in the directory, a large model may not.
    loaded = load(model, device=device, dtype=dtype)
    known = directory.is_model_directory(loaded.path)
    small = nano.is_nano(loaded.tokenizer)
    adapted = (loaded.path / ADAPTER).is_file()
    if known:
        family = directory.read(loaded.path).family
    elif adapted or small:  # as it came
        family = (MARKED if gene_token_ids(loaded.tokenizer) else ENGLISH).name
    else:
        family = (MARKED if (reads if gene_tokens is None else gene_tokens) else ENGLISH).name
    if known or adapted:
        _check_same(str(model), gene_tokens, family, small=small)
    if family == MARKED.name and not reads:
        raise ValueError(
            "Gene tokens are for models that read cells and name them; to write genes or changes, start from a model without "
            "them, and leave out gene_tokens=."
        )

    def reopen(
        words: list[str], embeddings: dict[str, np.ndarray], writes: bool, genes: Sequence[str] = ()
    ) -> tuple[Any, Any]:
        if small and writes and not nano.writes(loaded.model):
            raise ValueError(
                f"{str(model)!r} was trained to read cells, not to write them: start from model='nano', with "
                "task=['annotate', 'generate'] for both."
            )
        if small:
            nano.add_words(loaded.model, loaded.tokenizer, words)
        elif adapted:
            return _with_adapter(loaded, device=device, dtype=dtype), loaded.tokenizer
        elif family == MARKED.name:
            extended = add_gene_tokens(loaded, genes)
            return extended.model, extended.tokenizer
        return loaded.model, loaded.tokenizer

    return Start(
        open=reopen,
        base={"name": str(model), "revision": loaded.revision, "dtype": loaded.dtype},
        family=family,
        small=small,
        peft_config=None if small or adapted else _lora(lora_rank, loaded.revision),
        # Weights in bfloat16 as well: autocast spares the adapter, whose weights have 32 bits, from computing in them.
        precision="bf16" if loaded.dtype != "float16" and _fast(dtype, device) else "fp32",
        rate=None if small else adapter_rate(loaded.model.get_input_embeddings().embedding_dim),
        new_words=partial(nano.new_words, loaded.tokenizer) if small else list,
        home=None if small else _home(loaded, adapted=adapted),
        genes=tuple(gene_token_ids(loaded.tokenizer)) if adapted else (),
    )


def adapter_rate(width: int) -> float:
    """Learning rate of an adapter by the width of its model.

    An adapter wants about ten times the rate of full fine-tuning [Schulman2025]_, and wide models lower ones: here the rate falls
    with the root of the width, and is never above the one that was tried.

    Parameters
    ----------
    width
        Length of an embedding.

    References
    ----------
    .. [Schulman2025] Schulman et al. (2025), LoRA Without Regret. https://thinkingmachines.ai/blog/lora/
    """
    return RATE * min(WIDTH / width, 1) ** 0.5


def _from_nothing(*, device: str, dtype: str, seed: int) -> Start:
    on = _device(device)

    def build(
        words: list[str], embeddings: dict[str, np.ndarray], writes: bool, genes: Sequence[str] = ()
    ) -> tuple[Any, Any]:
        model, tokenizer = nano.build(words, embeddings=embeddings, writes=writes, seed=seed)
        return model.to(on), tokenizer

    return Start(
        open=build,
        base={"name": NANO, "revision": None, "dtype": "float32"},
        family="nano",
        small=True,
        peft_config=None,
        precision="bf16" if _fast(dtype, device) else "fp32",
    )


def _fast(dtype: str, device: str) -> bool:
    """Whether to compute in bfloat16: where nothing else is asked for, if the machine can."""
    return _computes_bfloat16(_device(device)) if dtype == "auto" else dtype == "bfloat16"


def _check_nano(gene_tokens: bool | None) -> None:
    if gene_tokens is False:
        raise ValueError("A nano has one token for every gene by itself: leave out gene_tokens=.")


def _check_same(model: str, gene_tokens: bool | None, family: str, *, small: bool) -> None:
    """Refuse to take tokens from a model, or to add them, after it was trained."""
    if small:
        return _check_nano(gene_tokens)
    has = family == MARKED.name
    if gene_tokens not in (None, has):
        raise ValueError(
            f"{model!r} was trained {'with' if has else 'without'} gene tokens: leave out gene_tokens=, or start from its base."
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


def _with_adapter(merged: LoadedModel, *, device: str, dtype: str) -> Any:
    """Open an adapter to be trained further, on the base it was made for."""
    from peft import PeftConfig, PeftModel

    path = str(merged.path)
    config = PeftConfig.from_pretrained(path)
    base = load(config.base_model_name_or_path, device=device, dtype=dtype, revision=config.revision)
    if gene_token_ids(merged.tokenizer):
        _share_tables(merged.model, base.model)
    model = PeftModel.from_pretrained(base.model, path, is_trainable=True)
    # Whenever PEFT saves, it looks up the base: in its directory rather than on the network.
    model.peft_config[model.active_adapter].base_model_name_or_path = str(base.path)
    return model


def _share_tables(merged: Any, base: Any) -> None:
    """Give a base the gene tokens as they were trained: copies that a trainer makes of the adapter start there."""
    base.resize_token_embeddings(merged.get_input_embeddings().num_embeddings, mean_resizing=False)
    base.get_input_embeddings().weight.data.copy_(merged.get_input_embeddings().weight.data)
    base.get_output_embeddings().weight.data.copy_(merged.get_output_embeddings().weight.data)
