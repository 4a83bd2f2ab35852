"""The words around a cell: how a family of models reads a sentence and writes a label."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sc_c2s.sentences.text import quote, unquote


@dataclass(frozen=True)
class PromptFamily:
    """How one family of models reads cells and writes answers.

    ``nano`` knows few words, so its text is bare and a label is one (quoted) word; ``english`` is for
    models that were trained on prose. ``marked`` is English in which the genes of a cell are words of their own, such
    as ``<CD3E>``, which a tokenizer can give one token each; outside a cell ``CD3E`` is text like any other.
    """

    name: str
    words: tuple[str, ...] = ()
    """Words that the prompts of this family need beside genes, groupings and labels."""
    quoted: bool = False
    """Whether a name with white space is written as one word."""
    begin: str = ""
    """Word that a cell begins with, where genes are to follow."""
    mark: str = ""
    """What a label begins with where it is the answer: it is then another word than a gene of that name."""
    gene_marks: tuple[str, str] = ("", "")
    """What stands before and behind a gene inside a cell: it is then another word than the same name in prose."""

    def term(self, text: str) -> str:
        """Write a label, or the name of a grouping, the way this family does."""
        return quote(text) if self.quoted else text

    def gene(self, word: str) -> str:
        """Write a gene (one word) the way it stands inside a cell."""
        return word.join(self.gene_marks)

    def unmarked(self, word: str) -> str | None:
        """Read what :meth:`gene` wrote; ``None`` if it is no gene inside a cell."""
        before, behind = self.gene_marks
        inside = word[len(before) : len(word) - len(behind)]
        return inside if inside and word == self.gene(inside) else None

    def genes(self, sentence: str) -> str:
        """Write the genes of a cell sentence the way they stand inside a cell, separated by single spaces."""
        return " ".join(map(self.gene, sentence.split()))

    def prose(self, text: str) -> str:
        """Read prose in which genes may stand as they do inside a cell: there they are words like any other."""
        if not any(self.gene_marks):
            return text
        before, behind = map(re.escape, self.gene_marks)
        # A model that writes a gene's token leaves out the space before it, and often the one behind it.
        spaced = re.sub(rf" *{before}([^\s<>]+){behind} *", r" \1 ", text)
        single = re.sub(r" {2,}", " ", spaced)
        return re.sub(r"(?<=\() | (?=[,.;:!?)])", "", single).strip()

    def cell(self, sentence: str, *, organism: str | None = None) -> str:
        """Write a cell sentence, stating the number of genes that are really in it."""
        n_genes, sentence = len(sentence.split()), self.genes(sentence)
        if self.quoted:
            return f"<cell> {sentence} </cell>"
        of_whom = f" {organism}" if organism else ""
        noun = "gene" if n_genes == 1 else "genes"
        return f"The {n_genes} most active {noun} of one{of_whom} cell, strongest first: {sentence}."

    def answer(self, label: str) -> str:
        """Text that follows a prompt when the answer is this label; it starts with one space."""
        return f" {self.mark}{self.term(label)}"

    def parse(self, text: str, labels: Iterable[str]) -> str | None:
        """Label that an answer names, or ``None``; the whole first line has to be the label."""
        line = text.strip().partition("\n")[0].strip()
        labels = list(labels)
        line = unquote(line.removeprefix(self.mark)) if self.quoted else line
        spellings = [line, line.strip("\"'` .")]
        for spelling in spellings:
            if spelling in labels:
                return spelling
        for spelling in spellings:
            alike = [label for label in labels if label.casefold() == spelling.casefold()]
            if len(alike) == 1:
                return alike[0]
        return None


NANO = PromptFamily("nano", words=("<cell>", "</cell>", ":"), quoted=True, begin="<cell>", mark="=")
ENGLISH = PromptFamily("english")
MARKED = PromptFamily("marked", gene_marks=("<", ">"))
FAMILIES = {family.name: family for family in (NANO, ENGLISH, MARKED)}


def get_family(family: str | PromptFamily) -> PromptFamily:
    """Prompt family by its name."""
    if isinstance(family, PromptFamily):
        return family
    if family not in FAMILIES:
        raise ValueError(f"There is no prompt family {family!r}; choose one of {', '.join(map(repr, FAMILIES))}.")
    return FAMILIES[family]
