"""``c2s``: the main jobs from a terminal."""

from __future__ import annotations

import os

import typer

from . import _cells, _talk  # they add their commands, in this order
from ._app import app

# Threads that wait by spinning, of numba and of torch, keep each other from working. Read
# once, when the first of the two is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@app.command()
def info() -> None:
    """Print versions and devices, for bug reports."""
    from sc_c2s._session import info_text

    typer.echo(info_text())
