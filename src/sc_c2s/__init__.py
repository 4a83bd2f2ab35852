"""Cell sentences for scanpy.

Turn cells into sentences of gene names, train a language model to read them, and find its answers
where scanpy looks for them::

    import sc_c2s as c2s

The rooms are loaded when they are first used, so that importing the package stays as fast as importing scanpy.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING

from ._session import session_info

if TYPE_CHECKING:
    from . import get, metrics, models, pl, pp, rl, tl

__version__ = version("sc-c2s")

__all__ = ["__version__", "get", "metrics", "models", "pl", "pp", "rl", "session_info", "tl"]

_ROOMS = frozenset({"get", "metrics", "models", "pl", "pp", "rl", "tl"})


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
