from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sc_c2s.report import write_report

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """What a browser would find: balanced elements, their attributes, headings, tables and other text."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: dict[str, list[str]] = {}
        self.tables: list[list[list[str]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in {"td", "th"}:
            self.tables[-1][-1][-1] += data
        elif self.open:
            self.text.setdefault(self.open[-1], []).append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


@pytest.fixture
def scores() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "accuracy": [0.91249, 1.0, np.nan],
            "cells": [12345, 7, 0],
            "error": [-0.5, 2e-5, 0.0],
            "note": ["a < b", None, "x & y"],
            "held": np.array([True, False, True]),
        },
        index=pd.Index(["nano", "logistic regression", "<b>"], name="method"),
    )


@pytest.fixture
def figures():
    small, ax = plt.subplots(figsize=(4, 3))
    ax.imshow(np.eye(3))
    _, wide = plt.subplots(figsize=(9, 3))
    wide.plot([1, 2])
    yield {"Confusion <test>": small, "UMAP": wide}
    plt.close("all")


@pytest.fixture
def page(tmp_path, scores, figures) -> Page:
    path = write_report(
        tmp_path / "new" / "report.html",
        title='T & B cells, "5 > 4"',
        lead="Read <this> first.",
        facts={"cells": 12345, "accuracy": 0.5, "label": "<i>", "none": None},
        tables={"Scores & more": scores, "Plain": pd.DataFrame({"x": [1]})},
        figures=figures,
    )
    assert path == tmp_path / "new" / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def test_text_is_there_and_escaped(page):
    assert page.text["title"] == page.text["h1"] == ['T & B cells, "5 > 4"']
    assert page.text["p"] == ["Read <this> first."]
    assert page.text["dt"] == ["cells", "accuracy", "label", "none"]
    assert page.text["dd"] == ["12,345", "0.500", "<i>", "–"]
    assert page.text["h2"] == ["Scores & more", "Plain"]
    assert page.text["figcaption"] == page.values("alt") == ["Confusion <test>", "UMAP"]
    assert "i" not in page.text
    assert "b" not in page.text


def test_tables_hold_every_value(page):
    assert page.tables == [
        [
            ["method", "accuracy", "cells", "error", "note", "held"],
            ["nano", "0.912", "12,345", "-0.500", "a < b", "yes"],
            ["logistic regression", "1.000", "7", "2.0e-05", "–", "no"],
            ["<b>", "–", "0", "0.000", "x & y", "yes"],
        ],
        [["", "x"], ["0", "1"]],
    ]


def test_nothing_is_fetched(page):
    assert page.values("href") == []
    assert all(source.startswith("data:image/png;base64,") for source in page.values("src"))
    assert not {"link", "script", "iframe"} & {tag for tag, _, _ in page.attributes}
    (style,) = page.text["style"]
    assert "url(" not in style
    assert "@import" not in style


def test_images_decode_to_the_figures(page, figures):
    sources = [base64.b64decode(source.partition(",")[2], validate=True) for source in page.values("src")]
    for png, figure in zip(sources, figures.values(), strict=True):
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        file = io.BytesIO()
        (figure.figure or figure).savefig(file, format="png", dpi=160, bbox_inches="tight", facecolor="white")
        file.seek(0)
        np.testing.assert_array_equal(plt.imread(io.BytesIO(png)), plt.imread(file))


def test_a_phone_can_show_it(page):
    assert "width=device-width, initial-scale=1" in page.values("content")
    assert page.values("class").count("scroll") == 2
    assert page.values("class").count("wide") == 1


def test_digits(tmp_path, scores):
    page = Page(write_report(tmp_path / "r.html", title="t", tables={"s": scores}, digits=1).read_text())
    assert page.tables[0][1][1:4] == ["0.9", "12,345", "-0.5"]


def test_title_alone_makes_a_page(tmp_path):
    page = Page(write_report(str(tmp_path / "r.html"), title="Only this").read_text())
    assert page.text["h1"] == ["Only this"]
    assert (page.tables, page.values("src")) == ([], [])
