"""``tl.perturb``: tell what would become of cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scanpy import logging as logg
from scipy import sparse

from sc_c2s import _keys
from sc_c2s._random import resolve_rng
from sc_c2s.data import open_cells
from sc_c2s.metrics.context_shifts import Target
from sc_c2s.metrics.effects import pearson_delta
from sc_c2s.sentences.changes import expected_expression

from ._cells_at_hand import (
    IN_PROPORTION,
    CellsAtHand,
    columns_of,
    expected_shifts,
    means_of,
    novelty,
    read_cells,
    targets_of,
)
from ._perturber import Perturber, open_perturber

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from sc_c2s.models import LoadedModel

SPACE = "log1p CP10k"
LEFT_OUT = 0.3
"""Share of the genes that another reading of a cell leaves out, as in training."""
LEAST_REAL = 3
"""Fewest real perturbed cells of a context that a prediction is compared with."""
SCRAMBLED_CELLS = 100
"""Cells of a context that are read with another name in the prompt."""


def perturb(
    data: AnnData | MuData,
    *,
    model: str | Path | LoadedModel,
    perturbation: str | Sequence[str],
    control: str | None = None,
    condition_key: str | None = None,
    groupby: str | Sequence[str] | None = None,
    n_samples: int = 1,
    shift_weight: float = 0.0,
    layer: str | None = None,
    use_raw: bool = False,
    gene_symbols: str | None = None,
    mod: str | None = None,
    batch_size: int | None = None,
    rng: int | np.random.Generator | None = 0,
    random_state: int | np.random.Generator | None = None,
    key_added: str = _keys.PERTURBED,
    device: str = "auto",
    dtype: str = "auto",
    copy: bool = False,
) -> AnnData | MuData | None:
    r"""Predict what a perturbation makes of cells.

    The model reads the sentence of a control cell and the name of the perturbation, and gives every gene a probability to be what
    rises (``+gene``) or falls (``-gene``), or that nothing does (``=``). With :math:`s` the scale of the model the change of a gene
    is

    .. math:: \Delta_g = s \, (p(+g) - p(-g)),

    the mean difference to perturbed cells that the same sentence would have been paired with in training. Falls are in proportion
    to the mean of the gene in the cells' context: a gene cannot fall where it is not. What rises is added to the cell; what falls
    takes the same share of every value of the gene in the context, so that nothing falls below zero.

    Parameters
    ----------
    data
        Annotated data matrix, counts or log1p counts per 10,000.
    model
        Model directory of :func:`~sc_c2s.tl.finetune` with ``task="perturb"`` (or what :func:`~sc_c2s.models.load` made of it).
    perturbation
        What is done to the cells, or a list of such names, each of which is predicted for itself. Parts of a combination are joined
        by ``" + "``.
    control
        Value of ``condition_key`` that control cells have; by default that of the model. Other cells are not predicted.
    condition_key
        Column of `obs` with the perturbations; by default that of the model. Without such a column all cells are taken for
        control cells.
    groupby
        Columns of `obs` whose combinations are the contexts that results are told for; by default those of the model that are there.
    n_samples
        Number of readings of a cell. The first one is of the whole sentence, the others leave out some of its genes; the mean of all
        is the prediction, and with two or more their standard deviation is written, too.
    shift_weight
        Weight, from 0 to 1, of the shift ``"falls in proportion"`` of the training contexts, which needs no model, in the
        prediction: above 0 it is a hybrid, and called so. Half and half predicts means of unseen cell types better than either.
    layer
        Take the expression from this layer.
    use_raw
        Take the expression from ``.raw``.
    gene_symbols
        Column of `var` with the gene names, where `var_names` are something else.
    mod
        Modality of a MuData.
    batch_size
        Cells in a batch. By default as many as the device takes. It changes nothing but speed.
    rng
        Seed of the genes that are left out.
    random_state
        The same under its older name.
    key_added
        Name of the results. With several perturbations each has a key of its own, ``key_added + '_' + name``.
    device
        ``"cpu"``, ``"cuda"``, …; ``"auto"`` takes a GPU where there is one.
    dtype
        Number format of the weights, see :func:`~sc_c2s.models.load`.
    copy
        Return a copy in place of writing to `data`.

    Returns
    -------
    ``None``, or the copy. Written are

    `adata.obsm['c2s_perturbed' | key_added]` : :class:`numpy.ndarray` (dtype ``float32``)
        Expression of the cells after the perturbation in log1p counts per 10,000, cells × genes of the model that the data have. NaN
        for cells that are no control cells or have no gene that the model knows.
    `adata.obsm['c2s_perturbed_sd' | key_added + '_sd']` : :class:`numpy.ndarray` (dtype ``float32``)
        Standard deviation over the readings, with ``n_samples`` above 1.
    `adata.obs['c2s_perturbed_sentence' | key_added + '_sentence']` : :class:`pandas.Series` (dtype ``object``)
        The cells after the perturbation as sentences; NaN where there is none.
    `adata.uns['c2s_perturbed' | key_added]` : :class:`dict`
        ``var_names`` of the columns, ``space``, ``perturbation``, ``params``, ``n_failed`` (control cells without a prediction), and
        by context: ``contexts``, their ``n_cells`` and ``novelty`` (how far the cells are from all that the model was trained on, 0
        to 1), ``changes`` (contexts × genes: mean over the cells), ``baselines`` (names of shifts that need no model: no change, those of
        :func:`~sc_c2s.metrics.perturbation_baselines` from what the model kept of its training cells, and ``"falls in
        proportion"``) and their ``shifts`` (baselines × contexts × genes). Where the data hold real perturbed cells, ``metrics``
        compares all of them with these: ``source`` (``"model"``, with ``shift_weight`` also ``"hybrid"``; ``"scrambled name"``, the
        model asked for something else, and ``"shuffled contexts"``, what it tells of the next context), ``context`` and
        ``pearson_delta``.

    :func:`~sc_c2s.get.perturbed` hands the cells over as an AnnData.

    Raises
    ------
    ValueError
        If the model was not trained to perturb, has no word for the perturbation, or there is no control cell.

    Examples
    --------
    >>> import sc_c2s as c2s
    >>> c2s.tl.finetune(  # doctest: +SKIP
    ...     adata, task="perturb", condition_key="condition", control="ctrl", groupby="cell_type", output_dir="ifn"
    ... )
    >>> c2s.tl.perturb(adata, model="ifn", perturbation="stim")  # doctest: +SKIP
    >>> predicted = c2s.get.perturbed(adata)  # doctest: +SKIP
    """
    names = [perturbation] if isinstance(perturbation, str) else list(dict.fromkeys(perturbation))
    if not names:
        raise ValueError("perturbation= is empty: name what is done to the cells.")
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples} has to be 1 or more.")
    if not 0 <= shift_weight <= 1:
        raise ValueError(f"shift_weight={shift_weight} has to be from 0, the model alone, to 1, the shift alone.")
    start = logg.info("perturbing cells")
    generator = resolve_rng(rng, random_state)
    perturber = open_perturber(model, device=device, dtype=dtype)
    for name in names:
        perturber.check(name)
    cells = open_cells(data, mod=mod, layer=layer, use_raw=use_raw, gene_symbols=gene_symbols, copy=copy)
    seen = read_cells(cells, perturber, condition_key or perturber.condition_key, control or perturber.control, groupby)
    seed = int(generator.integers(2**31))
    keys = {name: key_added if len(names) == 1 else _keys.one_of(key_added, name) for name in names}
    if len(set(keys.values())) < len(names):
        raise ValueError("Two of the perturbations would be stored under one key: ask for them one after the other.")
    params = {
        **perturber.source,
        **cells.params,
        "condition_key": seen.condition_key,
        "control": seen.control,
        "groupby": np.array(seen.groupby, dtype=object),
        "n_samples": n_samples,
        "shift_weight": shift_weight,
        "seed": seed,
    }
    targets = targets_of(seen, perturber)
    results = {
        keys[name]: _predict(
            seen,
            targets,
            perturber,
            name,
            n_samples=n_samples,
            shift_weight=shift_weight,
            seed=seed,
            batch_size=batch_size,
        )
        for name in names
    }
    for key, result in results.items():
        # Together at the end: an interrupted call leaves nothing half-written.
        spread = {} if result["sd"] is None else {_keys.spread(key): result["sd"]}
        cells.write(
            obs={_keys.sentence(key): result["sentences"]},
            obsm={key: result["expression"], **spread},
            uns={key: result["uns"] | {"params": params}},
        )
    added = "".join(f"\n    {key!r}, expression after {name} (adata.obsm)" for name, key in keys.items())
    logg.info("    finished", time=start, deep=f"added{added}")
    return cells.result()


def _predict(
    seen: CellsAtHand,
    targets: list[Target],
    perturber: Perturber,
    perturbation: str,
    *,
    n_samples: int,
    shift_weight: float,
    seed: int,
    batch_size: int | None,
) -> dict[str, Any]:
    """Predict one perturbation of all control cells."""
    asked = seen.controls[seen.x[seen.controls].getnnz(axis=1) > 0]
    sentences = perturber.recipe.write(seen.x[asked], seen.genes, seen.names[asked], vocabulary=perturber.genes)
    readings = [sentences, *(_thinned(sentences, seed, i) for i in range(1, n_samples))]
    columns = columns_of(seen, perturber)
    means = means_of(seen, perturber, asked)
    changes = perturber.changes(
        [one for some in readings for one in some], np.tile(means, (n_samples, 1)), perturbation, batch_size=batch_size
    )
    changes = changes[:, columns].reshape(n_samples, len(asked), -1)
    mean = changes.mean(axis=0)
    shifts = expected_shifts(targets, perturber, perturbation, columns)

    shape = len(seen.names), len(seen.genes)
    expression = np.full(shape, np.nan, dtype=np.float32)
    told = np.full(shape[0], np.nan, dtype=object)
    told_changes, of_context = [], []
    for i, context in enumerate(seen.contexts):
        here = np.flatnonzero(seen.context[asked] == context)
        own = seen.mean(seen.of(context, seen.control))
        told_changes.append(mean[here].mean(axis=0) if len(here) else np.full(shape[1], np.nan))
        mean[here] = (1 - shift_weight) * mean[here] + shift_weight * shifts[IN_PROPORTION][i]
        expression[asked[here]] = expected_expression(seen.log[asked[here]].toarray(), mean[here], own)
        of_context.append(mean[here].mean(axis=0) if len(here) else np.full(shape[1], np.nan))
    told[asked] = perturber.recipe.write(
        sparse.csr_matrix(expression[asked]), seen.genes, seen.names[asked], vocabulary=perturber.genes
    )
    spread = None
    if n_samples > 1:
        spread = np.full(shape, np.nan, dtype=np.float32)
        spread[asked] = changes.std(axis=0, ddof=1)
    uns: dict[str, Any] = {
        "perturbation": perturbation,
        "var_names": seen.genes.astype(object),
        "space": SPACE,
        "contexts": np.array(seen.contexts, dtype=object),
        "n_cells": np.array([len(seen.of(context, seen.control)) for context in seen.contexts]),
        "novelty": np.array([novelty(seen, perturber, context) for context in seen.contexts]),
        "changes": np.stack(of_context).astype(np.float32),
        "baselines": np.array(list(shifts), dtype=object),
        "shifts": np.stack(list(shifts.values())).astype(np.float32),
        "n_failed": len(seen.controls) - len(asked),
    }
    scrambled = _scrambled(seen, perturber, perturbation, asked, sentences, columns, batch_size)
    hybrid = {"hybrid": uns["changes"]} if shift_weight else {}
    by_model = np.stack(told_changes)
    if len(by_model) > 1:
        # What the model tells of the next context: as good as its own where the cell is not read.
        scrambled["shuffled contexts"] = np.roll(by_model, 1, axis=0)
    metrics = _metrics(seen, perturbation, {**hybrid, "model": by_model, **scrambled, **shifts})
    if len(metrics):
        uns["metrics"] = metrics
    if uns["n_failed"]:
        logg.warning(
            f"{uns['n_failed']} control cells have no gene that the model knows, so nothing is predicted for them"
        )
    return {"expression": expression, "sd": spread, "sentences": told, "uns": uns}


def _thinned(sentences: list[str], seed: int, sample: int) -> list[str]:
    """Leave some genes of every sentence out, but never all."""
    rng = np.random.default_rng([seed, sample])
    thinned = []
    for sentence in sentences:
        words = np.array(sentence.split(), dtype=object)
        kept = rng.random(len(words)) >= LEFT_OUT
        thinned.append(" ".join(words[kept] if kept.any() else words))
    return thinned


def _scrambled(
    seen: CellsAtHand,
    perturber: Perturber,
    perturbation: str,
    asked: np.ndarray,
    sentences: list[str],
    columns: np.ndarray,
    batch_size: int | None,
) -> dict[str, np.ndarray]:
    """Ask for something else: a model that reads its prompt is then as wrong as the two differ.

    Only where there are real cells to compare with. The other name is the next one that the model knows, the control included.
    """
    if not _compared(seen, perturbation):
        return {}
    names = [perturber.control, *perturber.values]
    place = names.index(perturbation) if perturbation in names else 0
    other = names[(place + 1) % len(names)]
    where = [np.flatnonzero(seen.context[asked] == context)[:SCRAMBLED_CELLS] for context in seen.contexts]
    some = np.concatenate(where)
    means = means_of(seen, perturber, asked[some])
    found = perturber.changes([sentences[i] for i in some], means, other, batch_size=batch_size)[:, columns]
    ends = np.cumsum([len(one) for one in where])[:-1]
    changes = [part.mean(axis=0) if len(part) else np.full(len(columns), np.nan) for part in np.split(found, ends)]
    return {"scrambled name": np.stack(changes)}


def _compared(seen: CellsAtHand, perturbation: str) -> list[int]:
    """Contexts that have real cells of the perturbation."""
    return [i for i, one in enumerate(seen.contexts) if len(seen.of(one, perturbation)) >= LEAST_REAL]


def _metrics(seen: CellsAtHand, perturbation: str, changes: dict[str, np.ndarray]) -> pd.DataFrame:
    """Correlate changes with those of the real cells at hand."""
    rows = []
    for i in _compared(seen, perturbation):
        context = seen.contexts[i]
        control, real = seen.mean(seen.of(context, seen.control)), seen.mean(seen.of(context, perturbation))
        rows += [
            (source, context, pearson_delta(control, real, control + by_context[i]))
            for source, by_context in changes.items()
        ]
    return pd.DataFrame(rows, columns=["source", "context", "pearson_delta"])
