"""Tools: fine-tune a model on cells, and let it name the label of others or write new ones."""

from __future__ import annotations

from ._annotate import annotate
from ._finetune import finetune
from ._generate import generate

__all__ = ["annotate", "finetune", "generate"]
