"""Sphinx configuration."""

from __future__ import annotations

import os
from importlib.metadata import version as installed
from pathlib import Path

# The kernels of the notebooks, too: waiting threads of numba and torch slow each other down many times.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

project = "sc-c2s"
author = "The sc-c2s authors"
copyright = f"2026, {author}"
release = version = installed("sc-c2s")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]

# The pages build without a network. Links into other projects' pages are made where one is at hand.
if os.environ.get("READTHEDOCS") == "True":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
        "matplotlib": ("https://matplotlib.org/stable/", None),
        "mudata": ("https://mudata.readthedocs.io/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "pandas": ("https://pandas.pydata.org/docs/", None),
        "python": ("https://docs.python.org/3/", None),
        "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
        "scipy": ("https://docs.scipy.org/doc/scipy/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
        "transformers": ("https://huggingface.co/docs/transformers/main/en/", None),
    }

# Every reference to a name of this package must lead somewhere; other projects' names may stay plain text.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!sc_c2s(\.|$)).*")]

html_theme = "sphinx_book_theme"
html_title = project
html_theme_options = {"show_navbar_depth": 2, "show_toc_level": 3}

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
add_module_names = False
default_role = "literal"
napoleon_google_docstring = False
napoleon_use_rtype = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Notebooks draw into the page, also where the terminal was told to draw nowhere.
os.environ.pop("MPLBACKEND", None)
# Real cells, where they are at hand; a notebook says what it does without.
_beside = Path(__file__).resolve().parents[2] / "shared" / "data"
if _beside.is_dir():
    os.environ.setdefault("SC_C2S_DATA", str(_beside))
# `cache` runs a notebook again when its code has changed, `force` always, `off` never.
nb_execution_mode = os.environ.get("C2S_DOCS_NOTEBOOKS", "cache")
nb_execution_timeout = 900
# What a notebook writes stays out of the tree, and what it says to a terminal (progress bars) off the page.
nb_execution_in_temp = True
nb_output_stderr = "remove"
nb_execution_raise_on_error = True
nb_merge_streams = True
