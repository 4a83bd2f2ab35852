"""Tools: fine-tune a model on cells, and let it name the label of others, write new ones or perturb them."""

from __future__ import annotations

from ._annotate import annotate
from ._finetune import finetune
from ._generate import generate
from ._perturb import perturb
from ._screen import screen

__all__ = ["annotate", "finetune", "generate", "perturb", "screen"]
