"""What runs here: versions, platform and device, for notebooks and bug reports."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from typing import Any

PACKAGES = (
    "sc_c2s",
    "scanpy",
    "anndata",
    "mudata",
    "muon",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "numba",
    "sklearn",
    "matplotlib",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "accelerate",
    "datasets",
    "peft",
    "trl",
)
"""Packages whose version decides what comes out, by import name."""


def session_info(*, dependencies: bool = False) -> Any:
    """Show the versions of the packages at work, of Python and of the operating system.

    Lists what the calling notebook or script has imported, and what this package builds on.

    Parameters
    ----------
    dependencies
        Also list every other loaded package.

    Returns
    -------
    In a notebook an HTML object that folds the list away; elsewhere `None`, and the list is printed.
    """
    return _show(sys._getframe(1).f_globals, dependencies=dependencies or None)


def info_text() -> str:
    """Text of ``c2s info``: versions, Python, platform and devices.

    Returns
    -------
    Several lines, ready to be pasted into a bug report.
    """
    with redirect_stdout(StringIO()) as out:
        _show({}, dependencies=False, html=False, jupyter=False, cpu=True)
    return f"{out.getvalue().strip()}\n{_device_line()}\n"


def _show(namespace: dict[str, Any], **options: Any) -> Any:
    import session_info

    scope = namespace | {name: import_module(name) for name in PACKAGES}
    # session_info lists the global names of whoever calls it: evaluate the call where these names are global.
    return eval("__show(**__options)", scope | {"__show": session_info.show, "__options": options})


def _device_line() -> str:
    import torch

    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return f"devices: {', '.join(devices)} (CUDA {torch.version.cuda})"
    if torch.backends.mps.is_available():
        return "devices: Apple GPU (MPS)"
    return f"devices: CPU only ({torch.get_num_threads()} torch threads)"
