"""Measures of :func:`sc_c2s.metrics.perturbation`, for each context and perturbation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from .distances import energy_distance, frechet_distance, gene_wasserstein, mmd, sliced_wasserstein
from .effects import (
    Moments,
    direction_match,
    discrimination_score,
    moments,
    pearson_delta,
    strongest,
    t_scores,
    top_share,
)
from .fold_changes import LEAST_SHARE
from .measures import rank_correlation
from .perturbation_sets import Pair, Rows, Source, rows_of
from .programs import program_scores
from .sources import LEAST_CELLS

if TYPE_CHECKING:
    from anndata import AnnData

N_OVERLAP = 50
"""Genes in the comparison of top genes."""
SIGNIFICANT = 0.05
PROGRAM = "program_"
DISTANCES = ["mmd", "energy", "sliced_wasserstein", "scfid", "gene_wasserstein"]

Values = NDArray[np.float64]
GeneSets = Mapping[str, Sequence[str]]


class Comparison:
    """Real cells that predictions are compared with.

    Parameters
    ----------
    real
        Control and perturbed cells with context and perturbation.
    pairs
        What is compared.
    control
        Perturbation of control cells.
    seed
        Seed of halves and draws.
    """

    def __init__(self, real: AnnData, pairs: Sequence[Pair], control: str, *, seed: int) -> None:
        self.real, self.pairs, self.seed = real, list(pairs), seed
        rows, rng = rows_of(real), np.random.default_rng(seed)
        self.controls = {pair: rows[Pair(pair.context, control)] for pair in pairs}
        self.perturbed = {pair: rng.permutation(rows[pair]) for pair in pairs}
        halves = {pair: np.split(cells, [len(cells) // 2]) for pair, cells in self.perturbed.items()}
        enough = [pair for pair in pairs if len(halves[pair][0]) >= LEAST_CELLS]
        self.first_half = {pair: halves[pair][0] for pair in enough}
        # Whoever has too few cells for halves is compared whole.
        self.second_half = self.perturbed | {pair: halves[pair][1] for pair in enough}
        at_rest = {pair.context: moments(real.X[cells]) for pair, cells in self.controls.items()}
        self._control = {pair: at_rest[pair.context] for pair in pairs}

    def sizes(self, sources: Sequence[Source], max_cells: int) -> dict[Pair, int]:
        """Count the cells to draw of each pair: as many as every source and the real cells have."""
        found = {}
        for pair in self.pairs:
            cells = [self.second_half[pair], *(source.rows[pair] for source in sources if pair in source.rows)]
            found[pair] = min(max_cells, *map(len, cells))
        return found

    def sample(self, max_cells: int) -> AnnData:
        """At most so many cells of each context and perturbation."""
        blocks = {cells.tobytes(): cells for cells in (*self.controls.values(), *self.perturbed.values())}
        rng = np.random.default_rng(self.seed)
        return self.real[np.concatenate([rng.permutation(cells)[:max_cells] for cells in blocks.values()])].copy()

    def of_means(self, source: Source, *, halves: bool, n_top: Sequence[int], gene_sets: GeneSets) -> pd.DataFrame:
        """Measures of means and tests, of all cells.

        Parameters
        ----------
        source
            The prediction.
        halves
            Whether it is compared with the second half of the real cells.
        n_top
            Numbers of top genes.
        gene_sets
            Genes of the programs by name.

        Returns
        -------
        Pairs × measures, NaN where the source has no cells.
        """
        compared = self.second_half if halves else self.perturbed
        truth = {pair: moments(self.real.X[compared[pair]]) for pair in self.pairs}
        found = {pair: moments(source.cells.X[rows]) for pair, rows in source.rows.items() if pair in truth}
        rows = {
            pair: {
                **effect_measures(self._control[pair], truth[pair], made, n_top=n_top),
                **_programs(truth[pair].mean, made.mean, self.real.var_names, gene_sets),
            }
            for pair, made in found.items()
        }
        table = self._table(rows, [*effect_columns(n_top), *(PROGRAM + name for name in gene_sets)])
        table.insert(list(table).index("kendall"), "discrimination", self._discrimination(truth, found))
        return table

    def of_cells(
        self,
        source: Source,
        n: Mapping[Pair, int],
        truth: Mapping[Pair, Values],
        made: Mapping[Pair, Values],
        *,
        bandwidth: float,
    ) -> pd.DataFrame:
        """Distances between as many real and predicted cells.

        Parameters
        ----------
        source
            The prediction.
        n
            Number of cells of each pair.
        truth, made
            Real and predicted cells in the embedding, of each pair.
        bandwidth
            Width of the kernel.

        Returns
        -------
        Pairs × distances, NaN where the source has no cells.
        """
        rows = {}
        for pair, points in made.items():
            a, x = truth[pair], _dense(self.real.X[self.drawn_truth(pair, n)])
            rows[pair] = {
                "mmd": mmd(a, points, bandwidth=bandwidth),
                "energy": energy_distance(a, points),
                "sliced_wasserstein": sliced_wasserstein(a, points, rng=self.seed),
                "scfid": frechet_distance(a, points),
                "gene_wasserstein": float(
                    gene_wasserstein(x, _dense(source.cells.X[self.drawn(source, pair, n)])).mean()
                ),
            }
        return self._table(rows, DISTANCES)

    def drawn_truth(self, pair: Pair, n: Mapping[Pair, int]) -> Rows:
        """Real cells that are compared, in positions of the real cells."""
        return self.second_half[pair][: n[pair]]

    def drawn(self, source: Source, pair: Pair, n: Mapping[Pair, int]) -> Rows:
        """Predicted cells that are compared, in positions of the source; the same of sources with as many cells."""
        rng = np.random.default_rng([self.seed, self.pairs.index(pair)])
        rows = source.rows[pair]
        return rows[rng.choice(len(rows), size=min(n[pair], len(rows)), replace=False)]

    def _discrimination(self, truth: Mapping[Pair, Moments], found: Mapping[Pair, Moments]) -> list[float]:
        scores: dict[Pair, float] = {}
        for context in {pair.context for pair in self.pairs}:
            pairs = [pair for pair in self.pairs if pair.context == context]
            at_rest = self._control[pairs[0]].mean
            real = np.array([truth[pair].mean for pair in pairs]) - at_rest
            made = np.array([found[pair].mean if pair in found else np.full_like(at_rest, np.nan) for pair in pairs])
            targets = np.array([self.real.var_names == pair.perturbation for pair in pairs])
            scores |= zip(pairs, discrimination_score(made - at_rest, real, exclude=targets).tolist(), strict=True)
        return [scores[pair] for pair in self.pairs]

    def _table(self, rows: Mapping[Pair, Mapping[str, float]], columns: Sequence[str]) -> pd.DataFrame:
        values = [[rows[pair][name] if pair in rows else np.nan for name in columns] for pair in self.pairs]
        index = pd.MultiIndex.from_tuples(self.pairs, names=["context", "perturbation"])
        return pd.DataFrame(values, index=index, columns=list(columns), dtype=np.float64)


def effect_columns(n_top: Sequence[int]) -> list[str]:
    """Names of the measures of :func:`effect_measures`, in order."""
    tops = [f"pearson_delta_top{n}" for n in n_top]
    return ["pearson_delta", *tops, "mae", "de_overlap", "de_direction", "kendall"]


def effect_measures(control: Moments, real: Moments, predicted: Moments, *, n_top: Sequence[int]) -> dict[str, float]:
    """Compare one predicted effect with the real one.

    Parameters
    ----------
    control, real, predicted
        Real control, real perturbed and predicted perturbed cells.
    n_top
        Numbers of top genes.

    Returns
    -------
    Measures by name.
    """
    scores, adjusted = t_scores(real, control)
    found = {"pearson_delta": pearson_delta(control.mean, real.mean, predicted.mean)}
    for n in n_top:
        top = strongest(scores, n)
        found[f"pearson_delta_top{n}"] = pearson_delta(control.mean[top], real.mean[top], predicted.mean[top])
    changes = (real.mean - control.mean, predicted.mean - control.mean)
    found["mae"] = float(np.abs(predicted.mean - real.mean).mean())
    share = np.maximum(control.share, real.share)
    # Cells that were made by adding to control cells hardly vary in genes that these lack, so any change there, however
    # small, gets an endless score and would crowd out the others.
    shown = share >= LEAST_SHARE
    found["de_overlap"] = top_share(scores[shown], t_scores(predicted, control)[0][shown], N_OVERLAP)
    found["de_direction"] = direction_match(*changes, adjusted < SIGNIFICANT)
    found["kendall"] = rank_correlation(real.mean[share > 0], predicted.mean[share > 0])
    return found


def _programs(real: Values, predicted: Values, genes: Sequence[str], gene_sets: GeneSets) -> dict[str, float]:
    """Predicted less real score; both changes start from the same control cells, which cancel."""
    scores = program_scores((predicted - real)[None], genes, gene_sets)
    return {PROGRAM + str(name): float(score) for name, score in scores.iloc[0].items()}


def _dense(x: Any) -> Values:
    return np.asarray(x.toarray() if sp.issparse(x) else x, dtype=np.float64)
