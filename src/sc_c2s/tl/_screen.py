"""``tl.screen``: which perturbations change a gene program in one context and not in another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scanpy import logging as logg
from scipy import sparse

from sc_c2s import _keys
from sc_c2s._random import resolve_rng
from sc_c2s.data import open_cells
from sc_c2s.metrics.context_weights import similarity_weights
from sc_c2s.metrics.programs import program_scores
from sc_c2s.metrics.screen import Splits, share_also_called, split_effects

from ._cells_at_hand import CellsAtHand, columns_of, control_mean, means_of, novelty, read_cells
from ._perturber import Perturber, open_perturber

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from sc_c2s.models import LoadedModel

SIDES = ("a", "b")
"""Names of the two sets of contexts, in order."""
BASELINE = "similarity-weighted shift"
SIGNIFICANT = 0.05
"""Adjusted p-value below which a candidate is a hit."""
LEAST_GENES = 3
"""Fewest genes of a program."""
LEAST_CELLS = 3
"""Fewest control cells that stand for a side."""


def screen(
    data: AnnData | MuData,
    *,
    model: str | Path | LoadedModel,
    candidates: str | Sequence[str] | None = None,
    genes: Sequence[str],
    contexts: Sequence[str | Sequence[str]],
    groupby: str | Sequence[str] | None = None,
    control: str | None = None,
    condition_key: str | None = None,
    n_permutations: int = 1000,
    n_cells: int = 200,
    layer: str | None = None,
    use_raw: bool = False,
    gene_symbols: str | None = None,
    mod: str | None = None,
    batch_size: int | None = None,
    rng: int | np.random.Generator | None = 0,
    random_state: int | np.random.Generator | None = None,
    key_added: str = _keys.SCREEN,
    device: str = "auto",
    dtype: str = "auto",
    copy: bool = False,
) -> AnnData | MuData | None:
    r"""Look for perturbations that change a gene program in one context and not in another.

    The model predicts what each candidate changes in control cells of both contexts, as :func:`~sc_c2s.tl.perturb` does.
    The effect on a cell is the mean change of the genes of the program, less the mean change of all genes, in
    differences of log1p counts per 10,000. The split of a candidate is its mean effect in A less that in B.

    *What the p-value says.* The labels A and B of the cells are exchanged at random. A small p-value says that what the
    model predicts for a cell depends on which side the cell is from. It says nothing of whether the prediction is
    right, nor whether the split is large enough to matter. It takes cells for independent, which those of one donor are
    not, and it falls with the number of cells. As cells of two types always differ in something, and the model reads
    it, most candidates get a small one, also those with next to no split. ``split_z``, the split in standard deviations
    of the exchanged splits, tells candidates apart whose p-value is the smallest there is, but it grows with the root of
    the number of cells, too, up to :math:`\sqrt{n_A + n_B - 1}`: compare it within one screen only. Rank by the size of
    the split, as the table does, and trust it less the more novel a side is.

    *What needs no model.* The baseline takes the shifts that the training contexts saw, weighted by how similar their
    control cells are to those of each side. Where it calls the same candidates, they could have been read off the
    training data.

    Parameters
    ----------
    data
        Annotated data matrix, counts or log1p counts per 10,000.
    model
        Model directory of :func:`~sc_c2s.tl.finetune` with ``task="perturb"`` (or what :func:`~sc_c2s.models.load` made
        of it).
    candidates
        Perturbations to try. By default all that the model was trained on. Parts of a combination are joined by
        ``" + "``.
    genes
        The gene program: names, three or more of which the data and the model have to have.
    contexts
        The two sides, A and B: a pair of values of ``groupby`` (of several columns: joined by ``" | "``), or of lists of
        such values, whose cells are pooled.
    groupby
        Columns of `obs` whose combinations are the contexts; by default those of the model that are there.
    control
        Value of ``condition_key`` that control cells have; by default that of the model.
    condition_key
        Column of `obs` with the perturbations; by default that of the model. Without such a column all cells are taken
        for control cells.
    n_permutations
        How often labels are exchanged. No p-value is below ``1 / (1 + n_permutations)``, so that one hit among many
        candidates needs 20 times as many of them.
    n_cells
        Control cells of each side that are read, at most; the same ones for all candidates.
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
        Seed of the cells that are read and of the permutations, which are the same for all candidates.
    random_state
        The same under its older name.
    key_added
        Name of the results in `uns`.
    device
        ``"cpu"``, ``"cuda"``, …; ``"auto"`` takes a GPU where there is one.
    dtype
        Number format of the weights, see :func:`~sc_c2s.models.load`.
    copy
        Return a copy in place of writing to `data`.

    Returns
    -------
    ``None``, or the copy. Written is

    `adata.uns['c2s_screen' | key_added]` : :class:`dict`
        ``table``, a row for each candidate, those with the largest split of either sign first: ``candidate``,
        ``effect_a``, ``effect_b``, ``split``, ``split_z``, ``p_value``, ``p_adj`` (Benjamini-Hochberg over the
        candidates), ``hit`` (``p_adj`` below 0.05), ``baseline_a``, ``baseline_b`` and ``baseline_split`` (the same
        effects by the baseline, which knows a candidate that the model was not trained on as the mean over all others;
        NaN where training contexts saw too few cells of it), ``novelty_a`` and ``novelty_b`` (how far the control cells
        of the side are from all that the model was trained on, 0 to 1; the same for all candidates).

        Beside it ``contexts_a`` and ``contexts_b``, ``genes`` (those that were used), ``n_cells`` (that were read of A
        and of B), ``n_hits``, ``share_also_baseline`` and ``params``. The share is that of the hits that the baseline
        calls, too, where it may call as many: of the candidates that it splits the same way as the model, those that it
        splits most. It is NaN without hits.

    Raises
    ------
    ValueError
        If the model has no word for a candidate, a context does not exist, or there are too few genes or control cells.

    Examples
    --------
    >>> import sc_c2s as c2s
    >>> c2s.tl.screen(  # doctest: +SKIP
    ...     adata,
    ...     model="ifn",
    ...     genes=["ISG15", "IFI6", "MX1"],
    ...     contexts=("CD14+ Monocytes", ["CD4 T cells", "CD8 T cells"]),
    ... )
    >>> adata.uns["c2s_screen"]["table"].head()  # doctest: +SKIP
    >>> c2s.pl.screen(adata)  # doctest: +SKIP
    """
    if n_permutations < 1 or n_cells < LEAST_CELLS:
        raise ValueError(
            f"n_permutations={n_permutations} has to be 1 or more, and n_cells={n_cells} {LEAST_CELLS} or more."
        )
    sides = _sides(contexts)
    start = logg.info("screening perturbations")
    generator = resolve_rng(rng, random_state)
    perturber = open_perturber(model, device=device, dtype=dtype)
    names = _candidates(perturber, candidates, control or perturber.control)
    _warn_of_few_permutations(len(names), n_permutations)
    cells = open_cells(data, mod=mod, layer=layer, use_raw=use_raw, gene_symbols=gene_symbols, copy=copy)
    seen = read_cells(cells, perturber, condition_key or perturber.condition_key, control or perturber.control, groupby)
    program = _program(seen, genes)
    pooled = _pooled(seen, sides)
    seed = int(generator.integers(2**31))
    read = _drawn(pooled, sides, n_cells, seed)

    asked = np.concatenate(read)
    effects = _effects(seen, perturber, names, asked, program, batch_size)
    splits = split_effects(
        effects,
        pooled.context[asked] == SIDES[0],
        n_permutations=n_permutations,
        rng=np.random.default_rng([seed, 1]),
    )
    table = _table(names, splits, pooled, perturber, program)
    share = share_also_called(table["split"], table["hit"], table["baseline_split"])
    params = {
        **perturber.source,
        **cells.params,
        "condition_key": seen.condition_key,
        "control": seen.control,
        "groupby": np.array(seen.groupby, dtype=object),
        "n_permutations": n_permutations,
        "n_cells": n_cells,
        "seed": seed,
    }
    result = {
        "table": table,
        **{f"contexts_{side}": np.array(some, dtype=object) for side, some in zip(SIDES, sides, strict=True)},
        "genes": np.array(program, dtype=object),
        "n_cells": np.array([len(some) for some in read]),
        "n_hits": int(table["hit"].sum()),
        "share_also_baseline": share,
        "params": params,
    }
    cells.write(uns={key_added: result})
    logg.info(
        f"    {result['n_hits']} of {len(names)} candidates split the contexts",
        time=start,
        deep=f"added\n    {key_added!r}, effects of the candidates (adata.uns)",
    )
    return cells.result()


def _sides(contexts: Sequence[str | Sequence[str]]) -> list[list[str]]:
    """Read the contexts of both sides, each one once."""
    if isinstance(contexts, str) or len(contexts) != 2:
        raise ValueError("contexts= has to be a pair: the context A and the context B, or a list of contexts for each.")
    sides = [[str(side)] if np.isscalar(side) else list(dict.fromkeys(map(str, side))) for side in contexts]
    if not all(sides):
        raise ValueError("contexts= has an empty list: name one context or more for each side.")
    if both := [name for name in sides[0] if name in sides[1]]:
        raise ValueError(f"contexts= has {both[0]!r} on both sides: leave it out on one of them.")
    return sides


def _candidates(perturber: Perturber, candidates: str | Sequence[str] | None, control: str) -> list[str]:
    if candidates is None:
        return list(perturber.values)
    names = [candidates] if isinstance(candidates, str) else list(dict.fromkeys(candidates))
    if not names:
        raise ValueError("candidates= is empty: name perturbations, or leave it out for all that the model knows.")
    if control in names:
        raise ValueError(f"candidates= holds {control!r}, which is what control cells have: leave it out.")
    for name in names:
        perturber.check(name)
    return names


def _program(seen: CellsAtHand, genes: Sequence[str]) -> list[str]:
    """Find the genes of the program that changes are predicted for."""
    asked = [genes] if isinstance(genes, str) else list(dict.fromkeys(map(str, genes)))
    there = set(seen.genes)
    found = [gene for gene in asked if gene in there]
    if len(found) < LEAST_GENES:
        missing = ", ".join(repr(gene) for gene in asked if gene not in there)
        raise ValueError(
            f"Of the {len(asked)} genes= {len(found)} are among the {len(there)} genes of the model that the data have"
            f"{f' ({missing[:200]} not)' if missing else ''}, and a program needs {LEAST_GENES}: name others, or train "
            "a model on more genes with n_top_genes=."
        )
    if len(found) < len(asked):
        logg.warning(f"{len(asked) - len(found)} of the {len(asked)} genes of the program are not predicted: left out")
    return found


def _pooled(seen: CellsAtHand, sides: list[list[str]]) -> CellsAtHand:
    """Take each side for one context, and leave all others out."""
    known = seen.contexts
    if missing := [name for side in sides for name in side if name not in known]:
        columns = ", ".join(map(repr, seen.groupby)) or "nothing"
        raise ValueError(
            f"No control cell has the context {missing[0]!r}; there are {', '.join(map(repr, known))} "
            f"(values of {columns}): name two of these, or other columns with groupby=."
        )
    context = np.full(len(seen.context), np.nan, dtype=object)
    for side, names in zip(SIDES, sides, strict=True):
        context[pd.Series(seen.context).isin(names).to_numpy()] = side
    return replace(seen, context=context, controls=seen.controls[pd.notna(context[seen.controls])])


def _drawn(pooled: CellsAtHand, sides: list[list[str]], n_cells: int, seed: int) -> list[np.ndarray]:
    """Draw the control cells of each side that are read, of those with something to read."""
    rng = np.random.default_rng([seed, 0])
    drawn = []
    for side, names in zip(SIDES, sides, strict=True):
        there = pooled.of(side, pooled.control)
        there = there[pooled.x[there].getnnz(axis=1) > 0]
        if len(there) < LEAST_CELLS:
            raise ValueError(
                f"Of {', '.join(map(repr, names))} there are {len(there)} control cells with genes of the model, and "
                f"{LEAST_CELLS} are needed: pool it with other contexts in contexts=."
            )
        drawn.append(np.sort(rng.permutation(there)[:n_cells]))
    return drawn


def _effects(
    seen: CellsAtHand,
    perturber: Perturber,
    names: list[str],
    asked: np.ndarray,
    program: list[str],
    batch_size: int | None,
) -> np.ndarray:
    """Predict the effect of each candidate on the program of each cell (cells × candidates)."""
    sentences = perturber.recipe.write(seen.x[asked], seen.genes, seen.names[asked], vocabulary=perturber.genes)
    # Of the context of each cell, not of the side: a cell has the same prediction whatever it is pooled with.
    means = means_of(seen, perturber, asked)
    columns = columns_of(seen, perturber)
    effects = []
    for name in names:
        changes = perturber.changes(sentences, means, name, batch_size=batch_size)
        effects.append(_scored(changes[:, columns], seen, program))
    return np.column_stack(effects)


def _table(
    names: list[str], splits: Splits, pooled: CellsAtHand, perturber: Perturber, program: list[str]
) -> pd.DataFrame:
    """Set the effects beside those of the baseline, those with the largest split first."""
    means = _averaged(pooled)
    baseline = _baseline(means, perturber, names, program)
    table = pd.DataFrame(
        {
            # Objects stay objects: anndata does not write the string types that pandas would make of them.
            "candidate": pd.Series(names, dtype=object),
            **splits._asdict(),
            "hit": splits.p_adj < SIGNIFICANT,
            "baseline_a": baseline[:, 0],
            "baseline_b": baseline[:, 1],
            "baseline_split": baseline[:, 0] - baseline[:, 1],
            **{f"novelty_{side}": novelty(means, perturber, side) for side in SIDES},
        }
    )
    return table.sort_values("split", key=lambda split: -split.abs(), kind="stable", ignore_index=True)


def _averaged(pooled: CellsAtHand) -> CellsAtHand:
    """Put the mean of each side in place of its control cells, so that it is not taken anew for every candidate."""
    means = sparse.csr_matrix(np.stack([pooled.mean(pooled.of(side, pooled.control)) for side in SIDES]))
    return replace(
        pooled,
        x=means,
        log=means,
        names=np.array(SIDES, dtype=object),
        context=np.array(SIDES, dtype=object),
        condition=np.full(len(SIDES), pooled.control, dtype=object),
        controls=np.arange(len(SIDES)),
    )


def _baseline(means: CellsAtHand, perturber: Perturber, names: list[str], program: list[str]) -> np.ndarray:
    """Effect of each candidate on the program of each side by what training contexts saw (candidates × sides)."""
    columns = columns_of(means, perturber)
    own = [control_mean(means, perturber, side) for side in SIDES]
    effects = np.full((len(names), len(SIDES)), np.nan)
    for i, name in enumerate(names):
        seen = perturber.seen(name)
        shifts = np.stack([similarity_weights(seen.controls, one) @ seen.shifts for one in own])[:, columns]
        effects[i] = _scored(shifts, means, program)
    return effects


def _scored(changes: np.ndarray, seen: CellsAtHand, program: list[str]) -> np.ndarray:
    """Change of the program in each row, less that of all genes."""
    scores = program_scores(changes.astype(np.float64), list(seen.genes), {"program": program})
    return np.asarray(scores["program"])


def _warn_of_few_permutations(n_candidates: int, n_permutations: int) -> None:
    if n_candidates >= SIGNIFICANT * (1 + n_permutations):
        logg.warning(
            f"with {n_permutations} permutations, one hit alone among {n_candidates} candidates cannot be told from "
            f"chance: use n_permutations={int(np.ceil(2 * n_candidates / SIGNIFICANT))}"
        )
