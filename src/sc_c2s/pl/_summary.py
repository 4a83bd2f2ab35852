"""Texts about groups of cells, with what the data say of their claims in colour."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd

from sc_c2s import _keys, get

from ._axes import BLUE, GREY, RED, hand_over

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData


class _Style(NamedTuple):
    """How words look."""

    colour: str = "black"
    weight: str = "normal"
    slant: Literal["normal", "italic"] = "normal"
    line: float | None = None  # height of a line over the words, in font sizes from their foot


class _Piece(NamedTuple):
    """A word or a part of one, its left end, and the number of its claim."""

    text: str
    style: _Style
    claim: int = -1
    x: float = 0.0


# Told apart without colour as well: by weight, and by a line through or under the words.
_STYLES = {
    "confirmed": _Style(BLUE, "bold"),
    "contradicted": _Style(RED, "bold", line=0.27),
    "not checkable": _Style(GREY, line=-0.17),
}
_PLAIN, _QUESTION, _HEADING = _Style(), _Style(slant="italic"), _Style(weight="bold")
_LINE, _SMALL = 1.5, 0.85  # height of a line; size of the letters at the bar
_MARGIN, _GAP, _SIDE, _BAR = 1.0, 1.2, 13.0, 11.0  # around all, after a text, width beside it, of its bar
_LONGEST_WORD = 40  # letters; longer ones are broken

Measure = Callable[[str, _Style], float]
Line = list[_Piece]
"""Pieces with their places. All lengths are in font sizes."""


class _Block(NamedTuple):
    """All about a group: lines of heading, lines of text, and the row with the shares."""

    heading: list[Line]
    body: list[Line]
    row: pd.Series

    @property
    def height(self) -> float:
        return _LINE * len(self.heading) + max(_LINE * len(self.body), _LINE * len(_shares_in_words(self.row)) + 1)


def summary(
    data: AnnData | MuData,
    *,
    key: str = _keys.SUMMARY,
    groups: str | Sequence[str] | None = None,
    mod: str | None = None,
    width: float = 8.0,
    fontsize: float = 10,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Show the text about each group, its claims marked by what the data say.

    What the data confirm is blue and bold, what they contradict red, bold and struck through, what they do not tell grey and
    underlined. Where two claims share words, the first is marked. The bar beside a text has the shares of its claims.

    Parameters
    ----------
    data
        Cells with texts, by ``tl.summarize`` or ``tl.ask``.
    key
        Entry of ``uns`` with the texts; that of ``tl.ask`` is ``"c2s_answer"``, and has the question as a heading.
    groups
        Groups to show, in this order. By default all.
    mod
        Modality, where ``data`` is a MuData.
    width
        Width of the figure in inches. Its height is what the texts need.
    fontsize
        Size of the words in points. On given axes it shrinks until the texts fit.
    ax
        Axes to draw on.
    show
        Show the plot. By default as scanpy's settings say, unless ``ax`` is given.
    return_fig
        Return the figure.

    Returns
    -------
    The axes if ``show=False``, the figure if ``return_fig=True``, else None.
    """
    texts, claims = _chosen(get.summary(data, key=key, mod=mod), groups), get.claims(data, key=key, mod=mod)
    given = ax
    ax, size, blocks = _open(ax, texts, claims, width, fontsize)
    measure, room = _measure(size, ax.figure.dpi), ax.get_xlim()[1]
    top = _MARGIN
    for block in blocks:
        below = _draw_lines(ax, block.heading, top, size, measure)
        _draw_lines(ax, block.body, below, size, measure)
        _draw_shares(ax, block.row, room - _MARGIN - _BAR, below, size)
        top += block.height + _GAP
    _draw_legend(ax, top, size, measure)
    return hand_over(ax, given=given, show=show, return_fig=return_fig)


def _chosen(texts: pd.DataFrame, groups: str | Sequence[str] | None) -> pd.DataFrame:
    texts = texts.set_axis(texts.index.astype(str))
    if groups is None:
        return texts
    names = [groups] if isinstance(groups, str) else list(groups)
    if missing := [name for name in names if name not in texts.index]:
        raise KeyError(f"There is no text about {missing[0]!r}; there are texts about: {', '.join(texts.index)}.")
    return texts.loc[names]


def _open(
    ax: Axes | None, texts: pd.DataFrame, claims: pd.DataFrame, width: float, fontsize: float
) -> tuple[Axes, float, list[_Block]]:
    """Axes whose units are font sizes, the font size in points, and what goes there."""
    if ax is None:
        import matplotlib.pyplot as plt

        room = width * 72 / fontsize
        blocks = _blocks(texts, claims, room, _measure(fontsize, plt.rcParams["figure.dpi"]))
        height = _height(blocks)
        ax = plt.figure(figsize=(width, height * fontsize / 72)).add_axes((0, 0, 1, 1))
    else:
        inches = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
        while True:
            room, height = inches.width * 72 / fontsize, inches.height * 72 / fontsize
            blocks = _blocks(texts, claims, room, _measure(fontsize, ax.figure.dpi))
            if fontsize <= 3 or _height(blocks) <= height:
                break
            fontsize *= 0.95
    ax.set(xlim=(0, room), ylim=(height, 0))
    ax.set_axis_off()
    return ax, fontsize, blocks


def _height(blocks: Sequence[_Block]) -> float:
    return _MARGIN + sum(block.height + _GAP for block in blocks) + _LINE + _MARGIN / 2


def _blocks(texts: pd.DataFrame, claims: pd.DataFrame, room: float, measure: Measure) -> list[_Block]:
    blocks = []
    asked = ""
    for group, row in texts.iterrows():
        question = str(row.get("question", ""))
        heading = [] if question == asked else _wrapped(question, _QUESTION, room - 2 * _MARGIN, measure)
        asked = question
        cells = f" ({row['n_members']:.0f} cells)" if "n_members" in row else ""
        heading += _wrapped(f"{group}{cells}", _HEADING, room - 2 * _MARGIN, measure)
        own = claims[claims["group"].astype(str) == str(group)]
        text = row["text"] if isinstance(row["text"], str) and row["text"].strip() else "(no text)"
        blocks.append(_Block(heading, _wrapped(text, _PLAIN, room - _MARGIN - _SIDE, measure, own), row))
    return blocks


def _wrapped(text: str, style: _Style, room: float, measure: Measure, claims: pd.DataFrame | None = None) -> list[Line]:
    """Set a text into lines; its own line breaks are kept."""
    claim_of = np.full(len(text), -1)
    styles: list[_Style] = []
    if claims is not None:
        styles = [_STYLES[verdict] for verdict in claims["verdict"]]
        for i in range(len(claims) - 1, -1, -1):  # so that of two claims the first is marked
            claim_of[int(claims["start"].iloc[i]) : int(claims["end"].iloc[i])] = i
    lines: list[Line] = []
    for paragraph in re.finditer(r"[^\n]*\S[^\n]*", text):
        x = np.inf
        for word in re.finditer(rf"\S{{1,{_LONGEST_WORD}}}", paragraph[0]):
            pieces = list(_cut(word[0], claim_of[paragraph.start() + word.start() :][: len(word[0])]))
            looks = [styles[claim] if claim >= 0 else style for _, claim in pieces]
            widths = [measure(part, look) for (part, _), look in zip(pieces, looks, strict=True)]
            if x + sum(widths) > room:
                lines.append([])
                x = 0.0
            for (part, claim), look, wide in zip(pieces, looks, widths, strict=True):
                lines[-1].append(_Piece(part, look, claim, x))
                x += wide
            x += measure(" ", style)
    return lines


def _cut(word: str, claim_of: np.ndarray) -> Iterator[tuple[str, int]]:
    """Cut a word where a claim begins or ends."""
    bounds = [0, *(np.flatnonzero(np.diff(claim_of)) + 1).tolist(), len(word)]
    yield from ((word[a:b], int(claim_of[a])) for a, b in zip(bounds, bounds[1:], strict=False))


def _measure(size: float, dpi: float) -> Measure:
    """How far printed letters go, in font sizes; screens, which have few points, print them wider than paper."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    renderer = RendererAgg(1, 1, dpi)

    @cache
    def measure(text: str, style: _Style) -> float:
        font = FontProperties(weight=style.weight, style=style.slant, size=size)
        screen = renderer.get_text_width_height_descent(text, font, ismath=False)[0] * 72 / dpi
        return max(screen, text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / size

    return measure


def _draw_lines(ax: Axes, lines: Sequence[Line], top: float, size: float, measure: Measure) -> float:
    """Draw lines; return where the next one would begin."""
    left = _MARGIN
    for line in lines:
        foot = top + 0.75 * _LINE
        for piece in line:
            _draw_piece(ax, piece, left, foot, size)
        for claim in sorted({piece.claim for piece in line if piece.style.line is not None}):
            own = [piece for piece in line if piece.claim == claim]
            ends = left + own[0].x, left + own[-1].x + measure(own[-1].text, own[-1].style)
            height = foot - (own[0].style.line or 0)
            ax.plot(ends, [height, height], color=own[0].style.colour, linewidth=0.09 * size, solid_capstyle="butt")
        top += _LINE
    return top


def _draw_piece(ax: Axes, piece: _Piece, left: float, foot: float, size: float) -> None:
    look = piece.style
    ax.text(
        left + piece.x,
        foot,
        piece.text,
        color=look.colour,
        fontweight=look.weight,
        fontstyle=look.slant,
        fontsize=size,
        va="baseline",
        parse_math=False,
    )


def _draw_shares(ax: Axes, row: pd.Series, left: float, top: float, size: float) -> None:
    """Draw a bar with the shares of the claims, and the shares in words below it."""
    foot = top + 0.75 * _LINE
    for words, style in _shares_in_words(row):
        _draw_piece(ax, _Piece(words, style), left, foot, _SMALL * size)
        foot += _LINE * _SMALL
    if not row["n_claims"]:
        return
    x = left
    for name, style in _STYLES.items():
        share = _BAR * row[name.replace(" ", "_")]
        hatch = "////" if name == "contradicted" else None
        ax.barh(
            foot - 0.3,
            share,
            0.8,
            left=x,
            color=style.colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.5,
            align="center",
        )
        x += share


def _shares_in_words(row: pd.Series) -> list[tuple[str, _Style]]:
    n = int(row["n_claims"])
    if not n:
        return [("no claims", _PLAIN)]
    shares = ((name, row[name.replace(" ", "_")], style) for name, style in _STYLES.items())
    return [
        (f"{n} claim{'s' * (n > 1)}", _PLAIN),
        *((f"{100 * share:.0f} % {name}", style) for name, share, style in shares if share > 0),
    ]


def _draw_legend(ax: Axes, top: float, size: float, measure: Measure) -> None:
    """Name the verdicts in the way the words of a claim look."""
    line, x = [], 0.0
    for i, (name, style) in enumerate(_STYLES.items()):
        line.append(_Piece(name, style, i, x))
        x += measure(name, style) + 1.5
    _draw_lines(ax, [line], top, size, measure)
