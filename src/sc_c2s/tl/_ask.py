"""``tl.ask``: a question about each group of cells, with every claim of the answers held against the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scanpy import logging as logg

from sc_c2s import _keys
from sc_c2s._random import resolve_rng
from sc_c2s.data import open_cells
from sc_c2s.engine import probabilities
from sc_c2s.prompts import ask_conversation

from ._narrator import Shown, grounded_texts, open_narrator, say, set_scene

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from sc_c2s.engine import Speaker
    from sc_c2s.metrics import CellOntology
    from sc_c2s.models import LoadedModel

MAX_TOKENS = 96


def ask(
    data: AnnData | MuData,
    question: str,
    *,
    model: str | Path | LoadedModel | Speaker,
    engine: str = "local",
    groupby: str | Sequence[str] | None = None,
    groups: Iterable[str] | None = None,
    choices: Sequence[str] | None = None,
    history: Sequence[tuple[str, str]] = (),
    label_key: str | None = None,
    sample_key: str | None = None,
    subgroup_key: str | None = None,
    context: Sequence[str] = (),
    evidence: bool | None = None,
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
    key_added: str = _keys.ANSWER,
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    rng: int | np.random.Generator | None = 0,
    random_state: int | np.random.Generator | None = None,
    copy: bool = False,
) -> AnnData | MuData | None:
    """Ask a question about groups of cells, and check every claim of the answers.

    Some cells of each group are shown to a language model with the question. A free answer is read like a summary, see
    :func:`~sc_c2s.tl.summarize`; an answer out of ``choices`` is scored, not written, and comes with probabilities.

    Small models read evidence far better than cells: annotate the cells first (:func:`~sc_c2s.tl.annotate`, whose labels are
    found here by themselves), then ask with ``evidence=True``.

    Parameters
    ----------
    data
        Annotated data matrix, counts or log-normalised expression.
    question
        The question, about the cells that are shown.
    model
        Model directory of :func:`~sc_c2s.tl.finetune` (``task="ask"``), any causal language model (``"smollm2"``, a directory, a
        hub id, or what :func:`~sc_c2s.models.load` returned), or an engine that talks.
    engine
        Where a model that is given by its name runs: ``"local"``, in this process, or ``"server"``, on the OpenAI-compatible server
        that the environment variable ``OPENAI_BASE_URL`` names, see :class:`~sc_c2s.engine.ServerEngine`.
    groupby
        Column of `obs` with the groups, or several, whose combinations are the groups; ``None`` for all cells as one group.
    groups
        Groups to ask about; by default all.
    choices
        Answers to choose from; the answer is the most probable one.
    history
        Questions and answers before this one, in their order, as pairs.
    label_key
        Column of `obs` with cell types, which claims about cell types are checked against; by default what
        :func:`~sc_c2s.tl.annotate` wrote, if it did.
    sample_key, subgroup_key, context, evidence, n_cells, n_genes, max_tokens, temperature, names, ontology, organism
        As of :func:`~sc_c2s.tl.summarize`.
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

    `adata.uns['c2s_answer' | key_added]` : :class:`dict`
        ``"answers"``: :class:`~pandas.DataFrame`, a row for each group, with the ``question``, the ``text`` of the answer, and what
        ``"summaries"`` of :func:`~sc_c2s.tl.summarize` has. ``"claims"``, as there. With ``choices`` also ``"choices"`` and
        ``"proba"``: :class:`~numpy.ndarray`, the probability of each (groups × choices); where a served model named none of them, the
        text is empty and they are NaN. ``"params"``.

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
    >>> c2s.tl.ask(
    ...     adata,
    ...     "Are these cells lymphocytes?",
    ...     choices=["yes", "no"],
    ...     model="smollm2",
    ...     groupby="louvain",
    ...     use_raw=True,
    ... )  # doctest: +SKIP
    >>> adata.uns["c2s_answer"]["answers"]  # doctest: +SKIP
    """
    if not question.strip():
        raise ValueError("The question is empty: ask something.")
    if isinstance(choices, str):
        raise TypeError(f"choices={choices!r} is one text; give a list of answers.")
    if choices is not None and len(set(choices)) < 2:
        raise ValueError("choices= holds fewer than two different answers: give more, or None for a free answer.")
    start = logg.info("asking about groups of cells")
    cells = open_cells(
        data, mod=mod, layer=layer, use_raw=use_raw, gene_symbols=gene_symbols, mask_var=mask_var, copy=copy
    )
    narrator = open_narrator(model, "ask", device=device, dtype=dtype, engine=engine)
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
        lambda text, known: ask_conversation(text, question, choices=choices, evidence=known, history=history),
        max_tokens=max_tokens,
    )
    closed = {} if choices is None else _chosen(shown, list(dict.fromkeys(choices)), batch_size)
    if closed:
        failed = np.isnan(closed["proba"]).any(axis=1)
        best = closed["choices"][np.where(failed, 0, closed["proba"].argmax(axis=1))]
        said = dict(zip(scene.groups.names, np.where(failed, "", best).tolist(), strict=True))
    else:
        said = say(shown, max_tokens=max_tokens, temperature=temperature, batch_size=batch_size)
    answers, claims = grounded_texts(said, shown, names=names, ontology=ontology)
    answers.insert(0, "question", question.strip())
    params = {
        **scene.params,
        "max_tokens": max_tokens,
        "question": question.strip(),
        "temperature": temperature,
        "n_before": len(history),
        "scoring": getattr(narrator.engine, "scoring", None),
    }
    cells.write(uns={key_added: {"answers": answers, "claims": claims, **closed, "params": params}})
    logg.info(
        "    finished",
        time=start,
        deep=f"added\n    {key_added!r}, an answer about each of {len(answers)} groups and its claims (adata.uns)",
    )
    return cells.result()


def _chosen(shown: Shown, choices: list[str], batch_size: int | None) -> dict[str, np.ndarray]:
    """Answers to choose from, and the probability of each (groups × choices)."""
    engine = shown.scene.narrator.engine
    prompts = [engine.written(conversation) for conversation in shown.conversations]
    scores = engine.score(prompts, choices, batch_size=batch_size)
    return {"choices": np.array(choices, dtype=object), "proba": probabilities(scores)}
