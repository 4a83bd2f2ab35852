"""``python -m sc_c2s.cli``."""

from . import app

app()
