"""``tl.annotate``: give every cell a label of a closed set, with probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scanpy import logging as logg

from sc_c2s import _keys
from sc_c2s._random import resolve_rng
from sc_c2s.data import Cells, open_cells
from sc_c2s.sentences.recipe import Recipe
from sc_c2s.sentences.text import as_text, read_sentences

from ._annotator import Annotator, open_annotator

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from sc_c2s.engine import Engine
    from sc_c2s.models import LoadedModel

UNKNOWN = "unknown"
N_GENES = 200
"""Sentence for a model that does not say how it wants it."""
NO_COUNTS, NO_KNOWN_GENE, NAN = "no counts", "no count in a gene that the model reads", "the model returned NaN"
NONE_OF_THEM, NO_GROUP = "the model named none of the labels", "in no group"
LEVELS = ("cell", "group")


def annotate(
    data: AnnData | MuData,
    *,
    model: str | Path | LoadedModel | Engine,
    engine: str = "local",
    labels: Iterable[str] | None = None,
    groupby: str | None = None,
    level: str = "cell",
    group_key: str | None = None,
    n_cells: int | None = None,
    unknown_below: float | None = None,
    batch_size: int | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    gene_symbols: str | None = None,
    mask_var: str | np.ndarray | None = None,
    mod: str | None = None,
    sentence_key: str = _keys.SENTENCE,
    key_added: str = _keys.CELL_TYPE,
    device: str = "auto",
    dtype: str = "auto",
    rng: int | np.random.Generator | None = 0,
    random_state: int | np.random.Generator | None = None,
    copy: bool = False,
) -> AnnData | MuData | None:
    """Annotate cells with a language model.

    The labels are a closed set: the model scores every one of them as the answer to the cell's sentence, and the
    scores are turned into probabilities with the temperature that was calibrated on validation cells. The order of
    the cells and the size of a batch do not matter.

    A model directory of :func:`~sc_c2s.tl.finetune` knows its labels, its genes and how it wants its sentences. Where
    the sentences in `obs` were made otherwise, they are made anew for this call, from the matrix that `obs` says they
    came from.

    Parameters
    ----------
    data
        Annotated data matrix, counts or log-normalised expression.
    model
        Model directory of :func:`~sc_c2s.tl.finetune`, any causal language model (directory, hub id, or what
        :func:`~sc_c2s.models.load` returned), a :class:`~sc_c2s.engine.ServerEngine`, or any other object with a method
        ``score(prompts, answers)``.
    engine
        Where a model that is given by its name runs: ``"local"``, in this process, or ``"server"``, on the
        OpenAI-compatible server that the environment variable ``OPENAI_BASE_URL`` names, with the key in
        ``OPENAI_API_KEY`` if it wants one. What the probabilities of a served model mean depends on the server, see
        :class:`~sc_c2s.engine.ServerEngine`; ``params`` says it under ``scoring``.
    labels
        Labels to choose from, in place of the model's own; fewer or other ones.
    groupby
        What a label is, as the model is asked for it; by default what it was trained on.
    level
        ``"cell"`` gives every cell a label of its own. ``"group"`` shows a model, one that was trained on prose, several cells of each
        group of ``group_key`` in one prompt, and gives all cells of the group one label: a tissue, a condition, a disease.
    group_key
        Column of `obs` with the groups.
    n_cells
        Cells of a group that are shown, by default 20: drawn, of each group by itself.
    unknown_below
        Cells whose best label is less probable than this are labelled ``"unknown"``.
    batch_size
        Cells in a batch, or requests to a server under way at once. By default as many as the device takes.
    layer
        Layer to read in place of `X`.
    use_raw
        Read `raw.X` in place of `X`.
    gene_symbols
        Column of `var` with the gene symbols, if `var_names` are ids.
    mask_var
        Column of `var`, or one boolean a gene: which genes to use.
    mod
        Modality of a MuData.
    sentence_key
        Column of `obs` with sentences, as :func:`~sc_c2s.pp.to_sentences` writes them.
    key_added
        Name of the results.
    device
        ``"cpu"``, ``"cuda"``, …; ``"auto"`` takes a GPU where there is one.
    dtype
        Number format of the weights, see :func:`~sc_c2s.models.load`.
    rng
        Seed of the cells of a group that are shown.
    random_state
        The same under its older name.
    copy
        Return a copy in place of writing to `data`.

    Returns
    -------
    ``None``, or the annotated copy. Written are

    `adata.obs['c2s_cell_type' | key_added]` : :class:`pandas.Series` (dtype ``category``)
        Most probable label, or ``"unknown"``. NaN for a cell without a count in a gene that the model reads, or where a served
        model named none of the labels.
    `adata.obs['c2s_cell_type_confidence' | key_added + '_confidence']` : :class:`pandas.Series` (dtype ``float32``)
        Its probability.
    `adata.obsm['c2s_cell_type_proba' | key_added + '_proba']` : :class:`numpy.ndarray` (dtype ``float32``)
        Probability of every label, cells × labels.
    `adata.uns['c2s_cell_type' | key_added]` : :class:`dict`
        ``labels`` in the order of the columns, ``params``, and the cells that got none: ``n_failed`` and
        ``failures``, a table of cells and reasons. With ``level="group"`` also ``groups``: a table with the ``label`` of each group, its
        ``confidence``, and the number of cells and genes that were shown.

    Examples
    --------
    >>> import scanpy as sc, sc_c2s as c2s
    >>> c2s.tl.annotate(adata, model="my_model")  # doctest: +SKIP
    >>> sc.pl.umap(adata, color=["c2s_cell_type", "c2s_cell_type_confidence"])  # doctest: +SKIP
    """
    if unknown_below is not None and not 0 <= unknown_below <= 1:
        raise ValueError(f"unknown_below={unknown_below} is not a probability; use a number from 0 to 1.")
    _check_level(level, group_key, n_cells)
    start = logg.info("annotating cells")
    where: dict[str, Any] = {"layer": layer, "use_raw": use_raw, "gene_symbols": gene_symbols, "mask_var": mask_var}
    if layer is None and not use_raw and gene_symbols is None and mask_var is None:
        where |= _recorded(data, mod, sentence_key)
    cells = open_cells(data, mod=mod, copy=copy, **where)
    annotator = open_annotator(model, device=device, dtype=dtype, engine=engine).choose(labels, groupby)
    annotator.check_genes(cells.genes)

    if level == "group":
        seed = int(resolve_rng(rng, random_state).integers(2**31))
        asked = _of_groups(cells, annotator, group_key, n_cells, unknown_below, seed=seed, batch_size=batch_size)
    else:
        asked = _of_cells(cells, annotator, sentence_key, batch_size=batch_size)
    proba, reasons = asked.proba, asked.reasons
    no_label = NAN if annotator.params["scoring"] is None else NONE_OF_THEM
    reasons[(reasons == "") & np.isnan(proba).any(axis=1)] = no_label
    failed = reasons != ""
    proba[failed] = np.nan

    label, confidence = _decide(proba, annotator.labels, unknown_below)
    cells.write(
        obs={key_added: label, _keys.confidence(key_added): confidence},
        obsm={_keys.proba(key_added): proba},
        uns={
            key_added: {
                "labels": np.array(annotator.labels, dtype=object),
                "params": annotator.params
                | cells.params
                | {"level": level, "unknown_below": unknown_below}
                | asked.params,
                "n_failed": int(failed.sum()),
                "failures": pd.DataFrame({"reason": reasons[failed]}, index=cells.obs_names[failed]),
                **asked.more,
            }
        },
    )
    if failed.any():
        logg.warning(f"{failed.sum()} cells got no label, see uns[{key_added!r}]['failures']")
    logg.info(
        "    finished",
        time=start,
        deep=f"added\n    {key_added!r}, the label (adata.obs)\n    {_keys.confidence(key_added)!r}, its probability "
        f"(adata.obs)\n    {_keys.proba(key_added)!r}, the probability of every label (adata.obsm)",
    )
    return cells.result()


@dataclass
class _Asked:
    """What a model said of each cell.

    Attributes
    ----------
    proba
        Probabilities of the labels (cells × labels).
    reasons
        Why a cell was not asked about; empty where it was.
    params, more
        How it was asked, and what else came of it, for the record.
    """

    proba: np.ndarray
    reasons: np.ndarray
    params: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)


def _check_level(level: str, group_key: str | None, n_cells: int | None) -> None:
    if level not in LEVELS:
        raise ValueError(f"There is no level {level!r}; choose from {', '.join(map(repr, LEVELS))}.")
    if level == "group" and group_key is None:
        raise ValueError("group_key= is missing: name the column of obs whose groups get a label each.")
    if level == "cell" and (group_key is not None or n_cells is not None):
        raise ValueError("group_key= and n_cells= are for level='group': leave them out.")


def _of_cells(cells: Cells, annotator: Annotator, sentence_key: str, *, batch_size: int | None) -> _Asked:
    """Ask about every cell by itself."""
    stored = _stored(cells, annotator, sentence_key)
    views, reasons = _make(cells, annotator) if stored is None else ([stored], _no_words(stored, NO_COUNTS))
    proba = np.full((cells.n_obs, len(annotator.labels)), np.nan, dtype=np.float32)
    asked = np.flatnonzero(reasons == "")
    if len(asked):
        proba[asked] = annotator.ask([[view[i] for i in asked] for view in views], batch_size)
    return _Asked(proba, reasons, {"sentences": "made" if stored is None else sentence_key})


def _of_groups(
    cells: Cells,
    annotator: Annotator,
    group_key: str | None,
    n_cells: int | None,
    unknown_below: float | None,
    *,
    seed: int,
    batch_size: int | None,
) -> _Asked:
    """Ask about every group, and give its cells what was said of it."""
    from ._annotate_groups import ask_groups

    assert group_key is not None
    group = cells.labels(group_key)
    table, of_group = ask_groups(cells, annotator, group, n_cells=n_cells, seed=seed, batch_size=batch_size)
    place = table.index.get_indexer(pd.Index(group))
    proba = of_group.astype(np.float32)[place]
    best, confidence = _decide(of_group, annotator.labels, unknown_below)
    more = {"groups": table.assign(label=best, confidence=confidence)}
    reasons = np.where(table["n_cells"].to_numpy()[place] == 0, NO_KNOWN_GENE, "").astype(object)
    reasons[place < 0] = NO_GROUP
    return _Asked(proba, reasons, {"group_key": group_key, "seed": seed}, more)


def _recorded(data: AnnData | MuData, mod: str | None, key: str) -> dict[str, Any]:
    """Where the sentences in `obs` came from, if it is still there."""
    adata = data.mod[mod] if mod is not None and mod in getattr(data, "mod", {}) else data
    params = getattr(adata, "uns", {}).get(key, {}).get("params", {})
    layer, use_raw, symbols = params.get("layer"), bool(params.get("use_raw")), params.get("gene_symbols")
    if layer is None and not use_raw and symbols is None:
        return {}
    var = adata.raw.var if use_raw and adata.raw is not None else adata.var
    gone = (
        (layer is not None and layer not in adata.layers)
        or (use_raw and adata.raw is None)
        or (symbols is not None and symbols not in var)
    )
    if gone:
        return {}
    found = {"layer": layer, "use_raw": use_raw, "gene_symbols": symbols}
    said = ", ".join(f"{name}={value!r}" for name, value in found.items() if value)
    logg.info(f"    reading what obs[{key!r}] was made from: {said}")
    return found


def _stored(cells: Cells, annotator: Annotator, key: str) -> list[str] | None:
    """Sentences in `obs`, unless the model wants other ones."""
    if key not in cells.adata.obs:
        return None
    sentences, recipe = cells.adata.obs[key], annotator.recipe
    if recipe is not None:
        params = cells.adata.uns.get(key, {}).get("params", {})
        wanted = {"n_genes": recipe.n_genes, "ties": recipe.ties}
        differs = [f"{name}={value!r}" for name, value in wanted.items() if params.get(name, "") != value]
        if annotator.n_views > 1:
            differs.append(f"{annotator.n_views} orders of the ties")
        if annotator.genes is not None and read_sentences(sentences, annotator.genes).n_unknown.any():
            differs.append("none but its own genes")
        if differs:
            logg.info(f"    making sentences anew: the model wants {', '.join(differs)}, unlike those in obs[{key!r}]")
            return None
    return as_text(sentences).to_pylist()


def _make(cells: Cells, annotator: Annotator) -> tuple[list[list[str]], np.ndarray]:
    """Write the sentences of every view, and say which cells have none."""
    recipe = annotator.recipe or Recipe(n_genes=N_GENES)
    vocabulary = cells.genes if annotator.genes is None else np.array(annotator.genes, dtype=object)
    names = np.asarray(cells.obs_names)
    views: list[list[str]] = [[] for _ in range(annotator.n_views)]
    empty = np.zeros(cells.n_obs, dtype=bool)
    for rows, x in cells.chunks():
        empty[rows] = x.getnnz(axis=1) == 0
        for number, view in enumerate(views):
            view += recipe.write(x, cells.genes, names[rows], vocabulary=vocabulary, view=number)
    reasons = _no_words(views[0], NO_KNOWN_GENE)
    reasons[empty] = NO_COUNTS
    return views, reasons


def _no_words(sentences: list[str], reason: str) -> np.ndarray:
    return np.array(["" if sentence.strip() else reason for sentence in sentences], dtype=object)


def _decide(
    proba: np.ndarray, labels: list[str], unknown_below: float | None
) -> tuple[pd.Categorical[str], np.ndarray]:
    """Most probable label of each cell and its probability; nothing for a row of NaN."""
    failed = np.isnan(proba).any(axis=1)
    codes = np.where(failed, 0, proba.argmax(axis=1))
    confidence = proba[np.arange(len(proba)), codes]
    categories = list(labels)
    if unknown_below is not None:
        if UNKNOWN not in categories:
            categories.append(UNKNOWN)
        codes = np.where(confidence < unknown_below, categories.index(UNKNOWN), codes)
    return pd.Categorical.from_codes(np.where(failed, -1, codes), categories=pd.Index(categories)), confidence
