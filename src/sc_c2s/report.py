"""One self-contained HTML page from tables and figures."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from html import escape
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE = 6.5
"""Figures wider than this many inches take a row of their own."""

_STYLE = """
:root { --ink: #1d2733; --soft: #5c6b7a; --line: #dde3ea; --tint: #f5f7fa; --accent: #0072b2; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; color: var(--ink); background: #fff; line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header, footer { max-width: 66rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere; }
.lead { color: var(--soft); font-size: 1.1rem; max-width: 46rem; margin: 0 0 1.75rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 0 0 2rem; }
.facts div { background: var(--tint); border-radius: .5rem; padding: .7rem .9rem; }
.facts dt { color: var(--soft); font-size: .8rem; }
.facts dd { margin: 0; font-size: 1.15rem; font-weight: 600; overflow-wrap: anywhere; }
section { margin: 0 0 2.25rem; }
h2 { font-size: 1.15rem; margin: 0 0 .6rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .5rem .8rem; text-align: right; white-space: nowrap; }
td.text, tbody th, thead th:first-child { text-align: left; }
thead th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); white-space: normal;
  vertical-align: bottom; }
tbody th { font-weight: 600; position: sticky; left: 0; background: #fff; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.75rem; }
figure { margin: 0; min-width: 0; }
figure.wide { grid-column: 1 / -1; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { font-weight: 600; margin-bottom: .5rem; }
footer { color: var(--soft); font-size: .85rem; padding-top: 1rem; padding-bottom: 2.5rem; }
@media (max-width: 30rem) { header { padding-top: 1.5rem; } h1 { font-size: 1.5rem; } .lead { font-size: 1rem; } }
@media print { .scroll { overflow: visible; } section, figure { break-inside: avoid; } }
"""


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    lead: str = "",
    facts: Mapping[str, Any] | None = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
    figures: Mapping[str, Figure | Axes] | None = None,
    digits: int = 3,
) -> Path:
    """Write a page that needs nothing beside it: styles and pictures are inside.

    Parameters
    ----------
    path
        The file to write; missing folders are made.
    title
        Heading of the page.
    lead
        A sentence or two below the heading.
    facts
        Names and values to show at a glance.
    tables
        Tables under their captions. Index and columns become headings.
    figures
        Pictures under their captions.
    digits
        Decimals of numbers that are not whole.

    Returns
    -------
    The path.
    """
    parts = [
        _facts(facts or {}, digits),
        *(_table(caption, table, digits) for caption, table in (tables or {}).items()),
        _figures(figures or {}),
    ]
    page = _page(title, lead, "\n".join(part for part in parts if part))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _page(title: str, lead: str, body: str) -> str:
    from sc_c2s import __version__

    intro = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{escape(title)}</h1>{intro}</header>
<main>
{body}
</main>
<footer>Written by sc_c2s {escape(__version__)}.</footer>
</body>
</html>
"""


def _facts(facts: Mapping[str, Any], digits: int) -> str:
    cards = "".join(
        f"<div><dt>{escape(str(name))}</dt><dd>{_value(value, digits)}</dd></div>" for name, value in facts.items()
    )
    return f'<dl class="facts">{cards}</dl>' if cards else ""


def _table(caption: str, table: pd.DataFrame, digits: int) -> str:
    corner = " / ".join(str(name) for name in table.index.names if name is not None)
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in (corner, *table.columns))
    rows = "".join(
        f'<tr><th scope="row">{_value(name, digits)}</th>{"".join(_field(value, digits) for value in row)}</tr>'
        # tuples, since a row as a Series would turn its counts into floats
        for name, *row in table.itertuples(name=None)
    )
    return (
        f'<section><h2>{escape(caption)}</h2><div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _figures(figures: Mapping[str, Figure | Axes]) -> str:
    blocks = "".join(_figure(caption, figure) for caption, figure in figures.items())
    return f'<section class="figures">{blocks}</section>' if blocks else ""


def _figure(caption: str, figure: Any) -> str:
    figure = figure.get_figure() if hasattr(figure, "get_figure") and figure.get_figure() is not None else figure
    width, height = figure.get_size_inches()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=160, bbox_inches="tight", facecolor="white")
    text, code = escape(caption), base64.b64encode(file.getvalue()).decode("ascii")
    wide = ' class="wide"' if width > _WIDE else ""
    return (
        f"<figure{wide}><figcaption>{text}</figcaption>"
        f'<img alt="{text}" style="width: {width:.2f}in" src="data:image/png;base64,{code}"></figure>'
    )


def _field(value: Any, digits: int) -> str:
    kind = "" if isinstance(value, Real) or _missing(value) else ' class="text"'
    return f"<td{kind}>{_value(value, digits)}</td>"


def _missing(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _value(value: Any, digits: int) -> str:
    """Write a value for readers: numbers rounded, whole ones in groups of three."""
    if _missing(value):
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    if isinstance(value, Real):
        number = float(value)
        if 0 < abs(number) < 0.5 * 10**-digits:
            return f"{number:.1e}"
        return f"{number:,.{digits}f}"
    if isinstance(value, tuple):
        return escape(" / ".join(str(part) for part in value))
    return escape(str(value))
