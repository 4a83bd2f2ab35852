"""Models as text machines: scoring of closed answers; no biology in here."""

from .base import Engine
from .local import LocalEngine
from .scoring import AnswerTree, probabilities

__all__ = ["AnswerTree", "Engine", "LocalEngine", "probabilities"]
