"""Models as text machines: closed answers scored, lists of a closed vocabulary written; no biology in here."""

from .base import Engine, Writer
from .decoding import Completion
from .local import LocalEngine
from .sampling import Sampling
from .scoring import AnswerTree, probabilities

__all__ = ["AnswerTree", "Completion", "Engine", "LocalEngine", "Sampling", "Writer", "probabilities"]
