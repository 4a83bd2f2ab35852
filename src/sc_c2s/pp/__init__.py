"""Preprocessing: cells to sentences and back."""

from __future__ import annotations

from ._from_sentences import from_sentences
from ._parquet import sentences_to_parquet
from ._to_sentences import to_sentences

__all__ = ["from_sentences", "sentences_to_parquet", "to_sentences"]
