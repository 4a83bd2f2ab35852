"""Models: the embedded default, model directories, and any causal language model from a directory or the hub."""

from . import directory, nano
from .load import LoadedModel, load
from .registry import published

__all__ = ["LoadedModel", "directory", "load", "nano", "published"]
