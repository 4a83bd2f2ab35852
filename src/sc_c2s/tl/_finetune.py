"""``tl.finetune``: teach a model the labels of the user's own cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scanpy import logging as logg

from sc_c2s import _keys
from sc_c2s._random import resolve_rng
from sc_c2s.data import Cells, combined, open_cells
from sc_c2s.sentences.symbols import guess_organism
from sc_c2s.training.pairs import PAIRINGS

from ._params import plain
from ._rewarded import check_method, improve

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from sc_c2s.training.plan import PerturbingPlan

ANY = "any"
"""Label of cells that are not told apart."""
TASKS = ("annotate", "generate", "perturb")


def finetune(
    data: AnnData | MuData,
    *,
    groupby: str | Sequence[str] | None,
    output_dir: str | Path,
    task: str | Sequence[str] = "annotate",
    model: str | Path = "nano",
    method: str = "sft",
    rewards: Sequence[str | Callable[..., list[float | None]]] | None = None,
    reward_weights: Sequence[float] | None = None,
    condition_key: str | None = None,
    control: str | None = None,
    pairing: str = "random",
    held_out: Mapping[str, str | Sequence[str]] | None = None,
    min_cells: int = 3,
    layer: str | None = None,
    use_raw: bool = False,
    gene_symbols: str | None = None,
    mask_var: str | np.ndarray | None = None,
    organism: str | None = None,
    mod: str | None = None,
    n_genes: int | None = None,
    n_top_genes: int | None = None,
    gene_tokens: bool | None = None,
    split_key: str | None = None,
    validation_size: float = 0.1,
    test_size: float = 0.2,
    n_epochs: int | None = None,
    n_steps: int | None = None,
    n_generations: int | None = None,
    n_words: int | None = None,
    beta: float = 0.02,
    tolerance: float = 0.05,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    patience: int | None = None,
    lora_rank: int = 16,
    device: str = "auto",
    dtype: str = "auto",
    resume: bool = True,
    rng: int | np.random.Generator | None = 0,
    random_state: int | np.random.Generator | None = None,
    key_added: str = _keys.FINETUNE,
    copy: bool = False,
) -> AnnData | MuData | None:
    """Fine-tune a language model on labelled cells.

    The labelled cells are put into three sets: the model learns from the training cells; when to stop and how sure to
    be is decided on the validation cells; the test cells only report. Training cells are shown as variants of
    themselves (some genes left out, two cells of one label merged), each time another one.

    A ``"nano"`` is a decoder of under a million parameters with one token per gene, which is built from the genes at
    hand and trained from scratch, on a laptop, in minutes. Its genes start where a singular value decomposition of the
    training cells puts them, and its labels at a linear probe of its states, from which it is fine-tuned [Kumar2022]_.
    Any other causal language model is trained through a LoRA adapter [Hu2022]_.

    Parameters
    ----------
    data
        Annotated data matrix, counts or log-normalised expression.
    groupby
        Column of `obs` with the labels. Cells without one are left out. For ``"generate"`` also several columns, whose
        combinations are the conditions that cells can be generated for (the first one holds the labels, if annotation is
        learned as well), or ``None`` for cells of no particular kind. For ``"perturb"`` the columns within whose combinations
        perturbed cells are set beside control cells.
    output_dir
        Where the model directory is written. If an earlier call with the same arguments was stopped there, training
        goes on from its last checkpoint.
    task
        What to learn: ``"annotate"``, to name the label of a cell, ``"generate"``, to write a cell of some condition, a list
        of both for one model that does both, or ``"perturb"``, to tell what a perturbation changes in a cell.
    model
        ``"nano"``; or what to start from: a model directory that this function wrote, the directory of any causal
        language model, or its id on the Hugging Face hub.
    method
        ``"sft"`` learns answers from examples. ``"grpo"`` goes on from a model that this function trained: the model answers, with
        what it may answer, answers to one prompt are compared by the rewards, and what was better than the others becomes more
        probable (group relative policy optimisation [Shao2024]_, by TRL). Give it the same cells and columns as before and
        ``split_key="c2s_split"``, so that cells that were not learned from still are not.
    rewards
        For ``"grpo"``: names of rewards that the task brings along (``"label_match"`` to annotate; ``"distribution"``,
        ``"rank_weighted_overlap"``, ``"kendall_tau"`` and ``"validity"`` to generate; ``"delta_correlation"``,
        ``"kendall_tau"`` and ``"rank_weighted_overlap"`` to perturb), or functions of ``sc_c2s.rl.rewards``, or any function of
        TRL's form. By default the first one of the task.
    reward_weights
        Weight of each reward; by default 1.
    condition_key
        Column of `obs` with the perturbations, for ``"perturb"``. Parts of a combination are joined by ``" + "``.
    control
        Its value for cells to which nothing was done.
    pairing
        How control cells get perturbed partners, always within the combinations of ``groupby`` (cell type and donor, for
        example): ``"random"``, any of them, whose mean is what is learned; ``"nearest"``, the most similar one; or ``"ot"``, optimal
        transport.
    held_out
        Perturbed cells that are never learned from, for ``"perturb"``: those that have one of these values in each of these columns
        of `obs`. ``{"cell_type": "B"}`` holds out a type, ``{"condition": ["STAT1", "IRF1"]}`` perturbations, and both together their
        combinations. They are the test cells, instead of those of ``test_size``; control cells are never held out.
    min_cells
        Fewest control and perturbed cells of a combination of ``groupby`` that say what changes in it, for ``"perturb"``. 1 for bulk
        profiles.
    layer
        Take the expression from this layer.
    use_raw
        Take the expression from ``.raw``.
    gene_symbols
        Column of `var` with the gene names, where `var_names` are something else.
    mask_var
        Column of `var`, or a mask, with the genes that may be used.
    organism
        Whose cells they are; guessed from the gene names if not given.
    mod
        Modality of a MuData.
    n_genes
        Longest sentence. By default a nano gets whole cells and other models 200 genes.
    n_top_genes
        Number of genes that are written into sentences: those that tell the labels of the training cells apart best.
        By default 1000 for a nano (2000 if it generates or perturbs) and all for other models; 0 for all.
    gene_tokens
        Whether a pretrained model gets one token for every gene, such as ``<CD3E>``, which is trained together with the adapter
        (:func:`~sc_c2s.models.add_gene_tokens`): sentences are three to four times as short. By default it does if it only
        annotates; one that generates or perturbs cannot. Genes that are in the sentence of a training cell get a token, at most
        ``n_top_genes``, or 5000, of them (those in the most sentences); no other gene is read.
    split_key
        Column of `obs` that either says ``"train"``, ``"validation"`` and ``"test"``, or holds a group that must not be
        torn apart, such as the donor.
    validation_size
        Share of the labelled cells (with a group: of the groups) to choose on. Where every perturbation was measured once, no
        cell can be spared: a tenth of the perturbations, whose parts were also measured elsewhere, is then not learned but chosen on.
    test_size
        Share to report on; 0 for none.
    n_epochs
        How often every training cell (for ``"perturb"`` every control cell) is shown for each task, at most. By default as often as a nano needs for about 2,000 rows,
        16,000 if it generates, or 10,000 if it perturbs (from 1 to 20 times), and 3 times for other models.
    n_steps
        For ``"grpo"``: updates of the model; by default 60.
    n_generations
        For ``"grpo"``: answers to each prompt; by default 8 to annotate and 16 otherwise.
    n_words
        For ``"grpo"``: words of an answer; by default 200 words about a perturbation, and as many genes as half of the cells have, up to 256.
    beta
        For ``"grpo"``: weight of the Kullback-Leibler divergence from the model at the start.
    tolerance
        For ``"grpo"``: training stops when the reward has risen while a score of the validation cells has fallen by more than
        this share of its best value, `patience` (2) times in a row. The state that was best by that score is kept.
    batch_size
        Rows in one training step, by default 32; for ``"grpo"`` prompts, by default 32 to annotate, 16 to perturb and 8 to generate.
    learning_rate
        Peak of the learning rate; by default 5e-5 for a nano (1e-3 if it generates, 1e-4 if it perturbs) and 2e-4 for an adapter; for
        ``"grpo"`` 1e-5 for a nano that annotates, 1e-4 for one that generates or perturbs, and 5e-5 for an adapter.
    patience
        Training stops when the validation cells were scored this many times without getting better (they are scored 10
        times in a full run). By default 3, and never for a nano, which may do worse for a while before it does better.
        The best state is kept in any case, the start among them.
    lora_rank
        Rank of the adapter of a model that is not a nano.
    device
        Where to train: ``"cpu"``, ``"cuda"``, …; a GPU by default where there is one.
    dtype
        Number format of the computation; by default bfloat16 where the device computes in it fast.
    resume
        Go on where an earlier call with the same arguments was stopped.
    rng
        Seed of the split, the variants and the training.
    random_state
        The same under its older name.
    key_added
        Name of the result in `uns`.
    copy
        Return a copy instead of writing to ``data``.

    Returns
    -------
    Returns `None` if ``copy=False``, else the copy. Sets the following fields (with MuData, in the modality, and columns
    also as ``obs["mod:key"]``):

    ``adata.obs['c2s_split']`` : :class:`~pandas.Categorical`
        ``"train"``, ``"validation"`` or ``"test"``; NaN for cells without a label.
    ``adata.uns['c2s_finetune' | key_added]`` : :class:`dict`
        ``"history"`` (step, epoch, seconds, train_loss, val_loss, val_accuracy; for ``"grpo"`` step, seconds, reward and each part
        of it, kl, entropy, length, n_tokens and the scores of the validation cells), ``"metrics"`` (a row for validation and test
        cells), ``"model"`` (the directory), ``"n_unlabelled"``, ``"params"`` and, if training with rewards was stopped,
        ``"stopped"`` with the reason.

    The model directory holds everything that :func:`~sc_c2s.tl.annotate`, :func:`~sc_c2s.tl.generate` and
    :func:`~sc_c2s.tl.perturb` need.

    Raises
    ------
    KeyError
        If ``groupby`` or ``split_key`` is not in `obs`.
    ValueError
        If there are too few labelled cells or groups, or the matrix holds negative or missing values.

    References
    ----------
    .. [Kumar2022] Kumar et al. (2022), Fine-Tuning can Distort Pretrained Features and Underperform
       Out-of-Distribution. ICLR.
    .. [Shao2024] Shao et al. (2024), DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models.
       arXiv:2402.03300.
    .. [Hu2022] Hu et al. (2022), LoRA: Low-Rank Adaptation of Large Language Models. ICLR.

    Examples
    --------
    >>> import scanpy as sc
    >>> import sc_c2s as c2s
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> c2s.tl.finetune(adata, groupby="bulk_labels", use_raw=True, output_dir="blood")  # doctest: +SKIP
    >>> c2s.tl.annotate(adata, model="blood", use_raw=True)  # doctest: +SKIP
    """
    tasks = _tasks(task)
    check_method(
        method,
        tasks,
        learning={"n_epochs": n_epochs, "n_genes": n_genes, "n_top_genes": n_top_genes, "gene_tokens": gene_tokens},
        rewarding={
            "rewards": rewards,
            "reward_weights": reward_weights,
            "n_steps": n_steps,
            "n_generations": n_generations,
            "n_words": n_words,
        },
    )
    groupings = () if groupby is None else (groupby,) if isinstance(groupby, str) else tuple(groupby)
    if "annotate" in tasks and (not groupings or (len(groupings) > 1 and len(tasks) == 1)):
        raise ValueError("To annotate, groupby= has to name one column of obs with the labels.")
    perturbing = _perturbing(tasks, groupings, condition_key, control, pairing, held_out, min_cells)
    start = logg.info("fine-tuning on cell sentences")
    cells = open_cells(
        data, mod=mod, layer=layer, use_raw=use_raw, gene_symbols=gene_symbols, mask_var=mask_var, copy=copy
    )
    generator = resolve_rng(rng, random_state)
    columns = groupings if perturbing is None else (*groupings, perturbing.condition_key)
    conditions = pd.DataFrame({name: cells.labels(name) for name in columns}, index=cells.obs_names)
    kinds = [conditions[name] for name in columns] or [pd.Series(ANY, index=cells.obs_names)]
    by = None if split_key is None else cells.obs(split_key)

    from sc_c2s.training.split import split_cells

    test = None if perturbing is None else _held_out(cells, conditions[perturbing.condition_key], perturbing, held_out)
    split = split_cells(
        combined(kinds) if test is None else combined(kinds).where(~test),
        by=by,
        validation=validation_size,
        test=test_size if test is None else 0.0,
        rng=generator,
        n_least=2 if "annotate" in tasks else 1,
    )
    if test is not None:
        split[test & combined(kinds).notna().to_numpy()] = "test"
    used = split.notna().to_numpy()
    logg.info(
        f"    {used.sum()} cells with a label, {split.value_counts().to_dict()}"
        + (f"; {n} cells without one are left out" if (n := int((~used).sum())) else "")
    )

    from sc_c2s.training.plan import make_plan
    from sc_c2s.training.run import train_model
    from sc_c2s.training.start import choose

    seed = int(generator.integers(2**31))
    labelled = _labelled(cells, conditions, split, used, organism=organism)
    begin = choose(
        model,
        lora_rank=lora_rank,
        device=device,
        dtype=dtype,
        seed=seed,
        reads=tasks == ("annotate",),
        gene_tokens=gene_tokens,
    )
    if method == "grpo":
        card, history, stopped = improve(
            labelled,
            begin,
            tasks[0],
            rewards,
            model=Path(model),
            output_dir=Path(output_dir),
            perturbing=perturbing,
            resume=resume,
            weights=reward_weights,
            seed=seed,
            n_steps=n_steps,
            n_prompts=batch_size,
            n_generations=n_generations,
            n_words=n_words,
            learning_rate=learning_rate,
            beta=beta,
            tolerance=tolerance,
            patience=patience,
        )
    else:
        stopped = None
        plan = make_plan(
            begin,
            n_train=_n_rows(labelled, perturbing),
            organism=labelled.organism,
            seed=seed,
            tasks=tasks,
            n_genes=n_genes,
            n_top_genes=n_top_genes,
            n_epochs=n_epochs,
            batch_size=batch_size or 32,
            learning_rate=learning_rate,
            patience=patience,
            perturbing=perturbing,
        )
        card, history = train_model(labelled, plan, begin, output_dir=Path(output_dir), resume=resume)

    params = {
        **cells.params,
        "task": plain(tasks),
        "method": method,
        "groupby": plain(groupings),
        "split_key": split_key,
        **({} if perturbing is None else {"condition_key": condition_key, "control": control, "pairing": pairing}),
        "validation_size": validation_size,
        "test_size": test_size,
        "seed": card.seed,
        "base": card.base["name"],
        **({"rewards": np.array(card.base["rewards"], dtype=object)} if method == "grpo" else {}),
    }
    cells.write(
        obs={_keys.SPLIT: pd.Categorical(split, categories=["train", "validation", "test"])},
        uns={
            key_added: {
                "history": history,
                "metrics": pd.DataFrame.from_dict(card.metrics, orient="index"),
                "model": str(output_dir),
                "n_unlabelled": int((~used).sum()),
                "params": params,
                **({} if stopped is None else {"stopped": stopped}),
            }
        },
    )
    logg.info(
        "    finished",
        time=start,
        deep=(
            f"added\n    {_keys.SPLIT!r}, the set of every cell (adata.obs)\n"
            f"    {key_added!r}, history and metrics (adata.uns)\n    the model directory {str(output_dir)!r}"
        ),
    )
    return cells.result()


def _tasks(task: str | Sequence[str]) -> tuple[str, ...]:
    tasks = (task,) if isinstance(task, str) else tuple(dict.fromkeys(task))
    unknown = [name for name in tasks if name not in TASKS]
    if unknown or not tasks:
        wrong = repr(unknown[0]) if unknown else "at all in task="
        raise ValueError(f"There is no task {wrong}; choose from {', '.join(map(repr, TASKS))}.")
    return tasks


def _perturbing(
    tasks: tuple[str, ...],
    groupings: tuple[str, ...],
    condition_key: str | None,
    control: str | None,
    pairing: str,
    held_out: Mapping[str, str | Sequence[str]] | None,
    min_cells: int,
) -> PerturbingPlan | None:
    """Say what the perturbation task learns from; refuse what belongs to it where it is not asked for."""
    if "perturb" not in tasks:
        given = {"condition_key": condition_key, "control": control, "held_out": held_out}
        if wrong := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"{wrong[0]}= is for task='perturb': leave it out, or learn that.")
        return None
    if len(tasks) > 1:
        raise ValueError("A model that perturbs learns nothing else: use task='perturb' alone.")
    if condition_key is None or control is None:
        raise ValueError(
            "To perturb, name the column of obs with the perturbations (condition_key=) and its value for control cells (control=)."
        )
    if condition_key in groupings:
        raise ValueError(f"groupby= holds {condition_key!r}, the perturbations themselves: leave it out there.")
    if pairing not in PAIRINGS:
        raise ValueError(f"There is no pairing {pairing!r}; choose from {', '.join(map(repr, PAIRINGS))}.")

    if min_cells < 1:
        raise ValueError(f"min_cells={min_cells} has to be 1 or more.")

    from sc_c2s.training.plan import PerturbingPlan

    return PerturbingPlan(condition_key=condition_key, control=control, pairing=pairing, min_cells=min_cells)


def _held_out(
    cells: Cells,
    condition: pd.Series,
    perturbing: PerturbingPlan,
    held_out: Mapping[str, str | Sequence[str]] | None,
) -> np.ndarray | None:
    """Perturbed cells that are not to be learned from; ``None`` if that is left to chance."""
    if perturbing.control not in set(condition.dropna()):
        found = ", ".join(map(repr, sorted(set(condition.dropna()))[:10]))
        raise ValueError(
            f"No cell has the value {perturbing.control!r} in obs[{perturbing.condition_key!r}] (there are {found}): control= names "
            "the cells to which nothing was done."
        )
    if not held_out:
        return None
    out = (condition != perturbing.control).to_numpy() & condition.notna().to_numpy()
    for name, values in held_out.items():
        column = cells.labels(name)
        wanted = {values} if isinstance(values, str) else set(map(str, values))
        if missing := sorted(wanted - set(column.dropna())):
            raise ValueError(f"held_out= names {missing[0]!r}, and no cell has that in obs[{name!r}].")
        out &= column.isin(wanted).to_numpy()
    if not out.any():
        raise ValueError("held_out= leaves no perturbed cell for the test: check its columns and values.")
    return out


def _n_rows(labelled: Any, perturbing: PerturbingPlan | None) -> int:
    """Count the rows of an epoch: one for each training cell, or for each control cell and some for each pair."""
    from sc_c2s.training.plan import LEAST_ROWS

    train = labelled.of("train")
    if perturbing is None:
        return max(len(train), 1)
    control = labelled.perturbations[train] == perturbing.control
    return max(int(control.sum()), LEAST_ROWS * len(set(labelled.kinds[train[~control]])), 1)


def _labelled(cells: Any, conditions: pd.DataFrame, split: pd.Series, used: np.ndarray, *, organism: str | None) -> Any:
    from sc_c2s.sentences.inverse import log_expression
    from sc_c2s.training.cells import LabelledCells

    x = cells.matrix()[used]
    # Of whole cells, also where only some of their genes are used.
    totals = np.concatenate([np.asarray(block.sum(axis=1)).ravel() for _, block in cells.chunks(all_genes=True)])[used]
    values = conditions.to_numpy(dtype=object)[used]
    return LabelledCells(
        x=x,
        log=log_expression(x, totals),
        genes=np.asarray(cells.genes),
        cells=cells.obs_names.to_numpy()[used],
        labels=values[:, 0] if values.shape[1] else np.full(len(values), ANY, dtype=object),
        split=split.to_numpy()[used],
        groupby=conditions.columns[0] if len(conditions.columns) else ANY,
        organism=guess_organism(cells.genes) if organism is None else organism,
        conditions=values,
        groupings=tuple(conditions.columns),
    )
