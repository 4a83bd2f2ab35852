"""Tools: fine-tune a model on cells, and let it name the label of others."""

from __future__ import annotations

from ._annotate import annotate
from ._finetune import finetune

__all__ = ["annotate", "finetune"]
