"""Pure text: what a model is asked about cells, and how its answers are read."""

from .annotate import annotate_answer, annotate_prompt, parse_annotation
from .family import ENGLISH, FAMILIES, NANO, PromptFamily, get_family
from .generate import condition_words, find_condition, generate_answer, generate_prompt
from .perturb import UNNAMED, change_answer, perturb_prompt, perturbation_parts

__all__ = [
    "ENGLISH",
    "FAMILIES",
    "NANO",
    "UNNAMED",
    "PromptFamily",
    "annotate_answer",
    "annotate_prompt",
    "change_answer",
    "condition_words",
    "find_condition",
    "generate_answer",
    "generate_prompt",
    "get_family",
    "parse_annotation",
    "perturb_prompt",
    "perturbation_parts",
]
