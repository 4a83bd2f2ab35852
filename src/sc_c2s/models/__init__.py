"""Models: the embedded default, model directories, and any causal language model from a directory or the hub."""

from . import directory, nano
from .gene_tokens import add_gene_tokens, gene_token_ids
from .load import LoadedModel, load
from .registry import published

__all__ = ["LoadedModel", "add_gene_tokens", "directory", "gene_token_ids", "load", "nano", "published"]
