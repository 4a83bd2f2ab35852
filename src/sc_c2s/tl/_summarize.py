"""``tl.summarize``: a text about each group of cells, with every claim held against the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scanpy import logging as logg

from sc_c2s import _keys
from sc_c2s._random import resolve_rng
from sc_c2s.data import open_cells
from sc_c2s.prompts import summarize_conversation

from ._narrator import grounded_texts, open_narrator, say, set_scene

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from sc_c2s.engine import Speaker
    from sc_c2s.metrics import CellOntology
    from sc_c2s.models import LoadedModel

MAX_TOKENS = 192


def summarize(
    data: AnnData | MuData,
    *,
    model: str | Path | LoadedModel | Speaker,
    engine: str = "local",
    groupby: str | Sequence[str] | None,
    groups: Iterable[str] | None = None,
    label_key: str | None = None,
    sample_key: str | None = None,
    subgroup_key: str | None = None,
    context: Sequence[str] = (),
    evidence: bool | None = None,
    style: str | None = None,
    n_cells: int | None = None,
    n_genes: int | None = None,
    max_tokens: int = MAX_TOKENS,
    temperature: float = 0.0,
    names: Mapping[str, Sequence[str]] | None = None,
    ontology: CellOntology | None = None,
    organism: str | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    gene_symbols: str | None = None,
    mask_var: str | np.ndarray | None = None,
    mod: str | None = None,
    key_added: str = _keys.SUMMARY,
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    rng: int | np.random.Generator | None = 0,
    random_state: int | np.random.Generator | None = None,
    copy: bool = False,
) -> AnnData | MuData | None:
    """Describe groups of cells in prose, and check every claim.

    Some cells of each group are shown to a language model, which says what they are. Every gene, cell type, proportion and
    direction that it names is then looked up in all cells of the group, see :func:`sc_c2s.metrics.grounding`.

    Parameters
    ----------
    data
        Annotated data matrix, counts or log-normalised expression.
    model
        Model directory of :func:`~sc_c2s.tl.finetune` (``task="summarize"``), any causal language model (``"smollm2"``, a
        directory, a hub id, or what :func:`~sc_c2s.models.load` returned), or an engine that talks.
    engine
        Where a model that is given by its name runs: ``"local"``, in this process, or ``"server"``, on the OpenAI-compatible server
        that the environment variable ``OPENAI_BASE_URL`` names, see :class:`~sc_c2s.engine.ServerEngine`.
    groupby
        Column of `obs` with the groups, or several, whose combinations are the groups; ``None`` for all cells as one group.
    groups
        Groups to describe; by default all.
    label_key
        Column of `obs` with cell types, which claims about cell types are checked against; by default what
        :func:`~sc_c2s.tl.annotate` wrote, if it did.
    sample_key
        Column of `obs` with the sample or donor: the cells that are shown are of one.
    subgroup_key
        Column of `obs` with subclusters: the cells that are shown hold each in proportion.
    context
        Columns of `obs` that say where the cells are from, such as the tissue or the condition.
    evidence
        Also show the model what the data say: the composition, the genes that are highest against all other cells (t-test of
        :func:`scanpy.tl.rank_genes_groups`), and the columns of ``context``. By default as the model was trained, else not.
    style
        ``"abstract"``, a few sentences, or ``"caption"``, one. By default as the model was trained, else ``"abstract"``.
    n_cells
        Cells of each group that are shown, best 5 to 40; by default as the model was trained, else 20.
    n_genes
        Most genes of each cell; fewer are shown if they do not fit into the model's context. By default as the model was
        trained, else 50.
    max_tokens
        Most tokens of a text.
    temperature
        0 always takes the most probable word; 1 draws words by their probability.
    names
        Further names of cell types: ``{"CD14 Mono": ["classical monocyte"]}``.
    ontology
        Names of cell types and what is a kind of what, by :func:`sc_c2s.metrics.cell_ontology`; without one, names are matched with the
        words of the labels alone.
    organism
        Whose cells they are; guessed from the gene names if not given.
    layer
        Layer to read in place of `X`.
    use_raw
        Read `raw.X` in place of `X`.
    gene_symbols
        Column of `var` with the gene symbols, if `var_names` are ids.
    mask_var
        Column of `var`, or one boolean a gene: which genes are shown and looked up.
    mod
        Modality of a MuData.
    key_added
        Name of the results.
    batch_size
        Groups in a batch. By default as many as the device takes.
    device
        ``"cpu"``, ``"cuda"``, …; ``"auto"`` takes a GPU where there is one.
    dtype
        Number format of the weights, see :func:`~sc_c2s.models.load`.
    rng
        Seed of the cells that are shown and of the words that are drawn. What is said of a group does not depend on other groups.
    random_state
        The same under its older name.
    copy
        Return a copy in place of writing to `data`.

    Returns
    -------
    ``None``, or the copy. Written is

    `adata.uns['c2s_summary' | key_added]` : :class:`dict`
        ``"summaries"``: :class:`~pandas.DataFrame`, a row for each group, with ``text``, ``n_cells`` and ``n_genes`` that were shown,
        ``n_members``, ``n_claims``, and the shares of the claims that are ``confirmed``, ``contradicted`` and ``not_checkable``.
        ``"claims"``: :class:`~pandas.DataFrame`, a row for each claim, with ``group``, ``start`` and ``end`` in the text, the ``words``
        there, ``kind``, what is ``said``, what was ``found``, and the ``verdict``. ``"params"``.

    Raises
    ------
    KeyError
        If a column is not in `obs`.
    ValueError
        If there is no such group, or the cells do not fit into the model's context.

    Examples
    --------
    >>> import scanpy as sc, sc_c2s as c2s
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> c2s.tl.summarize(
    ...     adata, model="smollm2", groupby="louvain", label_key="bulk_labels", evidence=True, use_raw=True
    ... )  # doctest: +SKIP
    >>> c2s.pl.summary(adata)  # doctest: +SKIP
    """
    start = logg.info("describing groups of cells")
    cells = open_cells(
        data, mod=mod, layer=layer, use_raw=use_raw, gene_symbols=gene_symbols, mask_var=mask_var, copy=copy
    )
    narrator = open_narrator(model, "summarize", device=device, dtype=dtype, engine=engine)
    style = narrator.asked("style", style, "abstract")
    scene = set_scene(
        cells,
        narrator,
        groupby=groupby,
        groups=groups,
        label_key=label_key,
        sample_key=sample_key,
        subgroup_key=subgroup_key,
        context=context,
        evidence=evidence,
        n_cells=n_cells,
        n_genes=n_genes,
        organism=organism,
        seed=int(resolve_rng(rng, random_state).integers(2**31)),
    )
    shown = scene.write(
        lambda text, known: summarize_conversation(text, style=style, evidence=known),
        max_tokens=max_tokens,
    )
    said = say(shown, max_tokens=max_tokens, temperature=temperature, batch_size=batch_size)
    summaries, claims = grounded_texts(said, shown, names=names, ontology=ontology)
    params = {**scene.params, "max_tokens": max_tokens, "style": style, "temperature": temperature}
    cells.write(uns={key_added: {"summaries": summaries, "claims": claims, "params": params}})
    logg.info(
        "    finished",
        time=start,
        deep=f"added\n    {key_added!r}, a text for each of {len(summaries)} groups and its claims (adata.uns)",
    )
    return cells.result()
