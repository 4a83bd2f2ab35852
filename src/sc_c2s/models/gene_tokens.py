"""One token a gene for a pretrained model: cell sentences become three to four times as short, prose stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

from sc_c2s.prompts.family import MARKED
from sc_c2s.sentences.text import quote, unquote

from .nano import is_nano

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .load import LoadedModel


def add_gene_tokens(model: LoadedModel, genes: Sequence[str]) -> LoadedModel:
    r"""Give every gene one token, which starts at the mean of the pieces that it was read in before.

    The token is not the bare symbol but a marked word, such as ``<CD3E>``, which only cells contain (the prompt family
    ``"marked"``): a gene in the name of a cell type, or in any other prose, is read as it always was. The vector of a gene
    :math:`g` with the pieces :math:`t_1, \ldots, t_k` (of its name with the space before it) is

    .. math:: e_g = \frac{1}{k} \sum_{i=1}^{k} e_{t_i},

    in the input embeddings and, where these are others, in the output embeddings; new words that start near words that
    are known disturb a model least [Hewitt2021]_.

    Parameters
    ----------
    model
        A pretrained model, as :func:`load` gives it.
    genes
        Symbols. Those that have a token already keep it and its vector.

    Returns
    -------
    The model with a tokenizer of its own that knows the genes. The weights are not copied: the embedding table of the
    model that was given has grown, and the other weights are the same.

    Raises
    ------
    TypeError
        If ``genes`` is one text.
    ValueError
        If a gene has no name, if its marked word is a control word of the tokenizer, or if the model is a nano.

    References
    ----------
    .. [Hewitt2021] Hewitt (2021), Initializing New Word Embeddings for Pretrained Language Models.
       https://nlp.stanford.edu/~johnhew/vocab-expansion.html

    Examples
    --------
    >>> import sc_c2s as c2s
    >>> model = c2s.models.load("smollm2")  # doctest: +SKIP
    >>> model = c2s.models.add_gene_tokens(model, ["CD3E", "NKG7"])  # doctest: +SKIP
    >>> model.tokenizer.tokenize("<CD3E> <NKG7>")  # doctest: +SKIP
    ['<CD3E>', '<NKG7>']
    """
    from scanpy import logging as logg
    from tokenizers import AddedToken

    if isinstance(genes, str):
        raise TypeError(f"genes={genes!r} is one text; give a list of genes.")
    if is_nano(model.tokenizer):
        raise ValueError("A nano has one token for every gene by itself: add genes with models.nano.add_words.")
    known = gene_token_ids(model.tokenizer)
    new = [gene for gene in dict.fromkeys(map(str, genes)) if gene not in known]
    if "" in new:
        raise ValueError("genes= holds an empty name; leave it out.")
    taken = model.tokenizer.get_vocab()
    if wrong := [gene for gene in new if _word(gene) in taken]:
        raise ValueError(
            f"The gene {wrong[0]!r} would be the word {_word(wrong[0])!r}, which means something else to this model: leave it out."
        )
    tokenizer = deepcopy(model.tokenizer)
    tokenizer.add_tokens(
        [AddedToken(_word(gene), single_word=False, lstrip=True, normalized=False, special=False) for gene in new]
    )
    place_gene_tokens(model.model, tokenizer, new)
    logg.info(f"    {len(new)} gene tokens added, {len(known)} were there")
    return replace(model, tokenizer=tokenizer)


def gene_token_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Genes that have a token of their own, and its number.

    Parameters
    ----------
    tokenizer
        Tokenizer of a pretrained model.

    Returns
    -------
    Token number of each gene, in the order in which they were added; empty where :func:`add_gene_tokens` was not used.
    """
    return {
        unquote(word): i
        for i, token in sorted(getattr(tokenizer, "added_tokens_decoder", {}).items())
        # A model's own words in angle brackets do not take the space before them.
        if token.lstrip and not token.special and (word := MARKED.unmarked(token.content)) is not None
    }


def place_gene_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, genes: Iterable[str]) -> None:
    """Let the embedding tables of a model hold all tokens, and genes start at the mean of their pieces, in place.

    Where they start depends on the model and the tokenizer alone, so that it need not be stored.
    """
    import torch

    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        with torch.random.fork_rng():
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    ids, genes = gene_token_ids(tokenizer), list(genes)
    if not genes:
        return
    head = model.get_output_embeddings()
    tables = [model.get_input_embeddings().weight, *([] if head is None else [head.weight])]
    with torch.no_grad():
        for gene, pieces in zip(genes, _pieces(tokenizer, genes), strict=True):
            for table in tables:
                table[ids[gene]] = table[pieces].float().mean(dim=0).to(table.dtype)


def _pieces(tokenizer: PreTrainedTokenizerBase, genes: list[str]) -> list[list[int]]:
    """Tokens of the plain names, the space before them included."""
    read = tokenizer([f": {quote(gene)}" for gene in genes], add_special_tokens=False, return_offsets_mapping=True)
    return [
        [token for token, (_, end) in zip(ids, offsets, strict=True) if end > 1]
        for ids, offsets in zip(read["input_ids"], read["offset_mapping"], strict=True)
    ]


def _word(gene: str) -> str:
    return MARKED.gene(quote(gene))
