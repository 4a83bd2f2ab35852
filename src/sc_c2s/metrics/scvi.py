"""Cells of a conditional scVI, to set beside those of other generators."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from sc_c2s._progress import progress
from sc_c2s.sentences.inverse import is_counts, log_expression

from .sources import CONDITION, conditions_of

if TYPE_CHECKING:
    from anndata import AnnData

_BATCH = 128
_DRAWN_AT_ONCE = 512


def scvi_cells(
    train: AnnData,
    *,
    groupby: str | Sequence[str],
    n_cells: int | Mapping[str, int],
    layer: str | None = None,
    mask_var: str | None = None,
    n_top_genes: int | None = None,
    max_epochs: int | None = None,
    rng: int | np.random.Generator = 0,
) -> AnnData:
    """Train scVI on counts with a decoder that knows the condition, and draw new cells from its prior.

    The condition takes the place of the batch [1]_. A new cell is a point of the prior, N(0, I), decoded under the condition
    with the library size of a training cell of that condition; counts are drawn from the likelihood (zero-inflated negative
    binomial). No training cell is encoded, as scVI's own posterior predictive samples do: these are near copies. All other
    settings are scVI's defaults; it trains on all cells. Global random states are left as they were.

    Needs scvi-tools: ``pip install "sc-c2s[scvi]"``.

    Parameters
    ----------
    train
        Training cells with raw counts.
    groupby
        Column of `obs` with the conditions, or several columns, whose combinations are the conditions. Cells without one are
        left out.
    n_cells
        Number of new cells of every condition, or a number for each condition that is wanted, by its name: of several columns
        the values joined by ``" | "``.
    layer
        Layer with the counts. By default `X`.
    mask_var
        Column of `var` that says which genes to model. By default all genes. Levels stay those of the whole cell: the rest of
        its counts is that of the training cell that gave the library size.
    n_top_genes
        Model this many highly variable genes of these only.
    max_epochs
        Epochs of training. By default scVI's: 400 up to 20,000 cells, then fewer.
    rng
        Seed or generator of training and draws.

    Returns
    -------
    New cells × modelled genes, condition by condition, in log1p counts per 10,000, with the ``groupby`` columns in `obs`
    (categorical).

    References
    ----------
    .. [1] Lopez *et al.* (2018), Deep generative modeling for single-cell transcriptomics. Nature Methods 15, 1053-1058.
    """
    _scvi()
    generator = np.random.default_rng(rng)
    cells, totals, values = _training_cells(train, groupby, layer, mask_var, n_top_genes)
    wanted = _wanted(n_cells, list(values.index))
    import torch
    from anndata import AnnData
    from lightning.pytorch.utilities.seed import isolate_rng

    with isolate_rng(), _quiet():
        seed = int(generator.integers(2**32))
        torch.manual_seed(seed)
        np.random.seed(seed)
        model = _trained(cells, max_epochs)
        drawn = [_draw(model, cells, totals, condition, n, generator) for condition, n in wanted.items()]
    counts, depths = sp.vstack([x for x, _ in drawn], format="csr"), np.concatenate([depth for _, depth in drawn])
    obs = values.loc[np.repeat(list(wanted), list(wanted.values()))]
    obs.index = pd.Index([f"scvi_{i}" for i in range(len(obs))])
    return AnnData(log_expression(counts, depths), obs=obs, var=pd.DataFrame(index=cells.var_names))


def _scvi() -> Any:
    try:
        import scvi
    except ModuleNotFoundError as error:
        if error.name != "scvi":
            raise
        raise ModuleNotFoundError(
            'metrics.scvi_cells needs scvi-tools, which is not installed; get it with `pip install "sc-c2s[scvi]"`.',
            name="scvi",
        ) from None
    return scvi


def _training_cells(
    train: AnnData, groupby: str | Sequence[str], layer: str | None, mask_var: str | None, n_top_genes: int | None
) -> tuple[AnnData, NDArray[np.float64], pd.DataFrame]:
    """Take counts of the genes to model, totals of the whole cells, and the ``groupby`` values of each condition."""
    from anndata import AnnData

    if layer is not None and layer not in train.layers:
        raise KeyError(f"There is no layer {layer!r}; the layers are: {', '.join(train.layers) or 'none'}.")
    x = sp.csr_matrix(train.X if layer is None else train.layers[layer], dtype=np.float32)
    if not is_counts(x) or (x.nnz and x.data.min() < 0):
        raise ValueError("scVI is trained on raw counts, and these are none: name the layer that has them with layer=.")
    totals = np.asarray(x.sum(axis=1), dtype=np.float64).ravel()
    condition = conditions_of(train, groupby, "train")
    cells = AnnData(x, obs=pd.DataFrame({CONDITION: condition}), var=pd.DataFrame(index=train.var_names))
    kept = condition.notna().to_numpy()
    if mask_var is not None:
        if mask_var not in train.var:
            raise KeyError(f"var has no column {mask_var!r}: name one that says which genes to model with mask_var=.")
        cells = cells[:, train.var[mask_var].to_numpy(dtype=bool)].copy()
    if n_top_genes is not None:
        cells = cells[:, _variable(cells[kept], n_top_genes)].copy()
    kept &= np.asarray(cells.X.sum(axis=1)).ravel() > 0
    if kept.sum() < 3:
        raise ValueError(f"Only {kept.sum()} cells have counts and a condition; scVI needs three at least.")
    values = train.obs.loc[kept, [groupby] if isinstance(groupby, str) else list(groupby)].astype("category")
    values = values.set_axis(condition[kept], axis=0)
    return cells[kept].copy(), totals[kept], values[~values.index.duplicated()].sort_index()


def _variable(cells: AnnData, n_top_genes: int) -> NDArray[np.bool_]:
    import scanpy as sc

    log = cells.copy()
    log.X = log_expression(log.X)
    sc.pp.highly_variable_genes(log, n_top_genes=n_top_genes)
    return log.var["highly_variable"].to_numpy()


def _wanted(n_cells: int | Mapping[str, int], conditions: list[str]) -> dict[str, int]:
    wanted = dict(n_cells) if isinstance(n_cells, Mapping) else dict.fromkeys(conditions, n_cells)
    if unknown := [condition for condition in wanted if condition not in conditions]:
        raise ValueError(f"No training cell has the condition {unknown[0]!r}; there are: {', '.join(conditions)}.")
    if not wanted or min(wanted.values()) < 1:
        raise ValueError("n_cells has to be 1 or more for every condition that it names.")
    return wanted


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the libraries underneath say about hardware and themselves, for a while."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "scvi")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _trained(cells: AnnData, max_epochs: int | None) -> Any:
    from lightning.pytorch.callbacks import LambdaCallback

    model_class = _scvi().model.SCVI
    model_class.setup_anndata(cells, batch_key=CONDITION)
    model = model_class(cells)
    with progress(desc="training scVI", unit="epoch") as bar:
        to_the_bar = LambdaCallback(
            on_train_start=lambda trainer, _: bar.reset(trainer.max_epochs),
            on_train_epoch_end=lambda *_: bar.update(),
        )
        model.train(
            max_epochs,
            train_size=1.0,
            shuffle_set_split=False,  # it would draw an order that no seed fixes; batches are shuffled anyway
            batch_size=_BATCH,
            # Batch normalisation cannot do with a single cell.
            datasplitter_kwargs={"drop_last": 0 < cells.n_obs % _BATCH < 3},
            enable_progress_bar=False,
            callbacks=[to_the_bar],
            logger=False,
        )
    model.module.eval()
    return model


def _draw(
    model: Any, cells: AnnData, totals: NDArray[np.float64], condition: str, n: int, rng: np.random.Generator
) -> tuple[sp.csr_matrix, NDArray[np.float64]]:
    """Draw new counts, and say how many the whole cell would have."""
    import torch

    codes = list(model.adata_manager.get_state_registry("batch").categorical_mapping)
    donors = rng.choice(np.flatnonzero(cells.obs[CONDITION] == condition), size=n)
    library = np.asarray(cells.X[donors].sum(axis=1), dtype=np.float64)
    blocks = []
    with torch.inference_mode():
        for start in range(0, n, _DRAWN_AT_ONCE):
            depth = torch.tensor(library[start : start + _DRAWN_AT_ONCE], dtype=torch.float32)
            likelihood = model.module.generative(
                z=torch.randn(len(depth), model.module.n_latent),
                library=depth.log(),
                batch_index=torch.full((len(depth), 1), codes.index(condition)),
            )["px"]
            blocks.append(sp.csr_matrix(likelihood.sample().cpu().numpy()))
    counts = sp.vstack(blocks, format="csr")
    return counts, totals[donors] - library.ravel() + np.asarray(counts.sum(axis=1)).ravel()
