"""Tools: fine-tune a model on cells, and let it name others, write new ones, perturb them, or talk about them."""

from __future__ import annotations

from ._annotate import annotate
from ._ask import ask
from ._finetune import finetune
from ._generate import generate
from ._perturb import perturb
from ._screen import screen
from ._summarize import summarize

__all__ = ["annotate", "ask", "finetune", "generate", "perturb", "screen", "summarize"]
