"""What runs here: versions, platform and device, for notebooks and bug reports."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from typing import Any

PACKAGES = {
    "sc_c2s": "sc-c2s",
    "scanpy": "scanpy",
    "anndata": "anndata",
    "mudata": "mudata",
    "muon": "muon",
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "numba": "numba",
    "sklearn": "scikit-learn",
    "matplotlib": "matplotlib",
    "torch": "torch",
    "transformers": "transformers",
    "tokenizers": "tokenizers",
    "safetensors": "safetensors",
    "accelerate": "accelerate",
    "datasets": "datasets",
    "peft": "peft",
    "trl": "trl",
}
"""Packages whose version decides what comes out: import name and distribution name."""


def session_info(*, dependencies: bool = False) -> Any:
    """Show the versions of the packages at work, of Python and of the operating system.

    Lists what the calling notebook or script has imported and what this package has loaded so far.

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
    with redirect_stdout(StringIO()) as loaded:
        _show({}, dependencies=False, html=False, jupyter=False, cpu=True)
    waiting = {name: dist for name, dist in PACKAGES.items() if name not in sys.modules}
    width = max(map(len, PACKAGES))
    lines = [
        loaded.getvalue().strip(),
        "-----",
        "Installed, loaded when needed:",
        *(f"{name:{width}} {_installed(dist)}" for name, dist in waiting.items()),
        "-----",
        _device_line(),
    ]
    return "\n".join(lines) + "\n"


def _show(namespace: dict[str, Any], **options: Any) -> Any:
    import session_info

    scope = namespace | {name: sys.modules[name] for name in PACKAGES if name in sys.modules}
    with warnings.catch_warnings():
        # It reads `__version__`, which scanpy and anndata are about to drop.
        warnings.simplefilter("ignore", FutureWarning)
        # It lists the global names of whoever calls it: evaluate the call where these names are global.
        return eval("__show(**__options)", scope | {"__show": session_info.show, "__options": options})


def _installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "missing"


def _device_line() -> str:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return f"Devices: {', '.join(names)} (CUDA {torch.version.cuda})"
    if torch.backends.mps.is_available():
        return "Devices: Apple GPU (MPS)"
    return f"Devices: CPU only, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads"
