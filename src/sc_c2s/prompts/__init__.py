"""Pure text: what a model is asked about cells, and how its answers are read."""

from .annotate import annotate_answer, annotate_prompt, parse_annotation
from .describe import describe
from .family import ENGLISH, FAMILIES, MARKED, NANO, PromptFamily, get_family
from .generate import condition_words, find_condition, generate_answer, generate_prompt
from .group import (
    STYLES,
    ask_conversation,
    cells_text,
    evidence_text,
    group_prompt,
    summarize_conversation,
)
from .perturb import UNNAMED, change_answer, perturb_prompt, perturbation_parts

__all__ = [
    "ENGLISH",
    "FAMILIES",
    "MARKED",
    "NANO",
    "STYLES",
    "UNNAMED",
    "PromptFamily",
    "annotate_answer",
    "annotate_prompt",
    "ask_conversation",
    "cells_text",
    "change_answer",
    "condition_words",
    "describe",
    "evidence_text",
    "find_condition",
    "generate_answer",
    "generate_prompt",
    "get_family",
    "group_prompt",
    "parse_annotation",
    "perturb_prompt",
    "perturbation_parts",
    "summarize_conversation",
]
