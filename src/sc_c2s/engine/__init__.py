"""Models as text machines: closed answers scored, lists of a closed vocabulary and prose written; no biology in here."""

from .base import Conversation, Engine, Speaker, Writer
from .decoding import Completion
from .local import LocalEngine
from .sampling import Sampling
from .scoring import AnswerTree, probabilities
from .server import ServerEngine

__all__ = [
    "AnswerTree",
    "Completion",
    "Conversation",
    "Engine",
    "LocalEngine",
    "Sampling",
    "ServerEngine",
    "Speaker",
    "Writer",
    "probabilities",
]
