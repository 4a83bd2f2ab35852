"""``tl.generate``: write cells that were never measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scanpy import logging as logg

from sc_c2s import _keys
from sc_c2s._random import resolve_rng
from sc_c2s.data import Cells, open_results
from sc_c2s.engine import Sampling

from ._writer import CellWriter, as_conditions, open_writer

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from sc_c2s.engine import Writer
    from sc_c2s.models import LoadedModel

SPACE = "log1p CP10k"


def generate(
    data: AnnData | MuData | None = None,
    *,
    model: str | Path | LoadedModel | Writer,
    groupby: str | Sequence[str] | None = None,
    conditions: Mapping[str, Any] | pd.DataFrame | Iterable[Any] | str | None = None,
    n_cells: int | None = None,
    n_genes: int | None = None,
    temperature: float | None = None,
    top_p: float = 1.0,
    top_k: int | None = None,
    min_p: float = 0.0,
    balanced: bool = True,
    batch_size: int | None = None,
    mod: str | None = None,
    rng: int | np.random.Generator | None = 0,
    random_state: int | np.random.Generator | None = None,
    key_added: str = _keys.GENERATED,
    device: str = "auto",
    dtype: str = "auto",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Generate cells with a language model.

    The model writes gene names one after the other, each a gene it knows and none twice in a cell, drawn at its temperature. Which genes and in what order is all that it says; the number of genes and the values that the first, the
    second, the third of them get are those of a training cell of the condition, drawn at random.

    By default each real cell gets a generated one of its own condition, stored beside it. With ``n_cells=`` or
    ``conditions=`` a new AnnData is made, and the real cells may be left out.

    Parameters
    ----------
    data
        Annotated data matrix. Only its conditions and the names of its genes are read, not its expression.
    model
        Model directory of :func:`~sc_c2s.tl.finetune` with ``task="generate"`` (or what :func:`~sc_c2s.models.load` made
        of it).
    groupby
        Columns of `obs` with the conditions; by default those that the model was trained on.
    conditions
        Conditions to make new cells of: a value, a list of values (with several groupings: of tuples), a dict of columns or a
        table.
    n_cells
        Number of new cells, of each condition if ``conditions`` are given. Without them conditions are drawn as often as they
        were in the training cells.
    n_genes
        Most genes of a cell. By default as many as the training cells had.
    temperature
        Above 1 makes rare genes likelier, below 1 less likely, 0 takes the most probable gene each time. By default the one
        of the model: cells of a ``nano`` are then as diverse as its training cells; it is found when training ends, and 1 for
        other models.
    top_p
        Draw among the most probable genes that together have this probability.
    top_k
        Draw among this many most probable genes.
    min_p
        Leave out genes less probable than this share of the most probable one.
    balanced
        Draw the cells of a condition evenly (Latin hypercube sampling [1]_). Each cell by itself is as probable as ever, and
        together they show each gene about as often as the model expects it, so that means and fold changes are those of many
        more cells. ``False`` draws every cell for itself: then means of generated cells scatter as means of real cells do,
        and a cell does not depend on how many others are asked for.
    batch_size
        Cells in a batch. By default as many as the device takes. It changes nothing but speed.
    mod
        Modality of a MuData.
    rng
        Seed of the draws.
    random_state
        The same under its older name.
    key_added
        Name of the results.
    device
        ``"cpu"``, ``"cuda"``, …; ``"auto"`` takes a GPU where there is one.
    dtype
        Number format of the weights, see :func:`~sc_c2s.models.load`.
    copy
        Return a copy in place of writing to `data`.

    Returns
    -------
    ``None``, or the copy. Written are

    `adata.obsm['c2s_generated' | key_added]` : :class:`scipy.sparse.csr_matrix` (dtype ``float32``)
        Expression of the generated cells in log1p counts per 10,000, cells × genes of the model.
    `adata.obs['c2s_generated_sentence' | key_added + '_sentence']` : :class:`pandas.Series` (dtype ``object``)
        Their sentences. NaN for a cell without a condition: its row of the expression is empty and means nothing.
    `adata.uns['c2s_generated' | key_added]` : :class:`dict`
        ``var_names`` of the columns, ``space``, ``params``, and ``n_failed``, the number of cells without one.

    :func:`~sc_c2s.get.generated` hands them over as an AnnData. With ``n_cells`` or ``conditions`` a new
    :class:`~anndata.AnnData` is returned: expression in `X`, conditions and sentences in `obs`.

    Raises
    ------
    ValueError
        If the model was not trained to write cells, or does not know a condition.

    References
    ----------
    .. [1] McKay, Beckman and Conover (1979), A Comparison of Three Methods for Selecting Values of Input Variables in the
       Analysis of Output from a Computer Code. Technometrics 21, 239-245.

    Examples
    --------
    >>> import sc_c2s as c2s
    >>> c2s.tl.finetune(adata, task="generate", groupby="cell_type", output_dir="writer")  # doctest: +SKIP
    >>> c2s.tl.generate(adata, model="writer")  # doctest: +SKIP
    >>> rare = c2s.tl.generate(model="writer", conditions="Platelet", n_cells=100)  # doctest: +SKIP
    """
    sampling = Sampling(temperature=1.0 if temperature is None else temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    new = conditions is not None or n_cells is not None
    if data is None and not new:
        raise ValueError("Without data there is nothing to generate beside: say how many with n_cells= or conditions=.")
    if n_cells is not None and n_cells < 1:
        raise ValueError(f"n_cells={n_cells} has to be 1 or more.")
    start = logg.info("generating cells")
    generator = resolve_rng(rng, random_state)
    writer = open_writer(model, device=device, dtype=dtype)
    if writer.genes is None or writer.groupings is None:
        raise ValueError(
            "The model does not say which genes and conditions it writes: train one with tl.finetune(task='generate')."
        )
    if temperature is None:
        sampling = replace(sampling, temperature=writer.temperature)
    asked = writer.groupings if groupby is None else (groupby,) if isinstance(groupby, str) else tuple(groupby)
    writer.check(asked, [])
    how = {"sampling": sampling, "n_genes": n_genes, "balanced": balanced, "rng": generator, "batch_size": batch_size}
    params = writer.source | {
        "groupby": np.array(writer.groupings, dtype=object),
        "n_genes": n_genes,
        **sampling.to_dict(),
        "balanced": balanced,
        "seed": rng if isinstance(rng, int) else None,
    }
    if new:
        wanted = _wanted(writer, as_conditions(conditions, writer.groupings), n_cells, generator)
        made = _new_cells(writer, wanted, how, params, key_added)
        logg.info("    finished", time=start, deep=f"made {made.n_obs} cells × {made.n_vars} genes")
        return made
    assert data is not None
    if copy:
        data = data.copy()
    cells = open_results(data, mod)
    _write_beside(cells, writer, how, params, key_added)
    logg.info(
        "    finished",
        time=start,
        deep=f"added\n    {key_added!r}, expression of a generated cell beside each (adata.obsm)\n"
        f"    {_keys.sentence(key_added)!r}, their sentences (adata.obs)\n    {key_added!r}, genes and parameters (adata.uns)",
    )
    return data if copy else None


def _wanted(
    writer: CellWriter, conditions: list[tuple[str, ...]] | None, n_cells: int | None, rng: np.random.Generator
) -> list[tuple[str, ...]]:
    """Condition of each new cell."""
    if conditions is None:
        return writer.draw_conditions(n_cells or 1, rng)
    writer.check(writer.groupings or (), conditions)
    return [value for value in conditions for _ in range(1 if n_cells is None else n_cells)]


def _new_cells(
    writer: CellWriter, wanted: list[tuple[str, ...]], how: dict[str, Any], params: dict[str, Any], key: str
) -> AnnData:
    from anndata import AnnData

    x, sentences = writer.write(wanted, **how)
    names = pd.Index([f"{key}_{i}" for i in range(len(wanted))])
    obs = pd.DataFrame(index=names)
    for i, name in enumerate(writer.groupings or ()):
        obs[name] = pd.Categorical([value[i] for value in wanted])
    obs[_keys.sentence(key)] = np.array(sentences, dtype=object)
    made = AnnData(x, obs=obs, var=pd.DataFrame(index=pd.Index(np.array(writer.genes, dtype=object))))
    made.uns[key] = {"space": SPACE, "params": params}
    return made


def _write_beside(cells: Cells, writer: CellWriter, how: dict[str, Any], params: dict[str, Any], key: str) -> None:
    from scipy import sparse

    columns = pd.DataFrame({name: cells.labels(name) for name in writer.groupings or ()}, index=cells.obs_names)
    known = columns.notna().all(axis=1).to_numpy()
    wanted = [tuple(row) for row in columns.to_numpy(dtype=object)[known]]
    writer.check(writer.groupings or (), dict.fromkeys(wanted))
    x, sentences = writer.write(wanted, **how)
    spread = sparse.csr_matrix(
        (np.ones(len(wanted), dtype=np.float32), (np.flatnonzero(known), np.arange(len(wanted)))),
        shape=(len(known), len(wanted)),
    )
    beside = sparse.csr_matrix(spread @ x)
    beside.sort_indices()
    told = np.full(len(known), np.nan, dtype=object)
    told[known] = sentences
    cells.write(
        obs={_keys.sentence(key): told},
        obsm={key: beside},
        uns={
            key: {
                "var_names": np.array(writer.genes, dtype=object),
                "space": SPACE,
                "params": params | {"mod": cells.params["mod"]},
                "n_failed": int((~known).sum()),
            }
        },
    )
    if not known.all():
        logg.warning(f"{(~known).sum()} cells have no condition, so nothing was generated beside them")
