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
from sc_c2s.data import open_cells

from ._finetune_cells import learn_cells, perturbing_plan
from ._finetune_language import LANGUAGE, check_language, learn_language
from ._params import columns, plain
from ._rewarded import check_method

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

TASKS = ("annotate", "generate", "perturb", *LANGUAGE)


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
    label_key: str | None = None,
    sample_key: str | None = None,
    subgroup_key: str | None = None,
    context: Sequence[str] = (),
    texts: Mapping[str, str | Sequence[str]] | None = None,
    evidence: bool | None = None,
    style: str | None = None,
    n_cells: int | None = None,
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
        of both for one model that does both, or ``"perturb"``, to tell what a perturbation changes in a cell. A pretrained language model
        learns to talk about the groups of ``groupby``: ``"summarize"``, to describe them, ``"ask"``, to answer questions about them
        that the data can answer, or both. Whole groups are then training, validation and test groups. Where cells have types
        (``label_key``) and there are no ``texts``, mixtures are learned as well: the training cells of each place (``context``,
        ``sample_key``) are dealt out among as many new groups, five times, and each type goes mostly to few of them.
    model
        ``"nano"``; or what to start from: a model directory that this function wrote, the directory of any causal
        language model, or its id on the Hugging Face hub.
    method
        ``"sft"`` learns answers from examples. ``"grpo"`` goes on from a model that this function trained: the model answers, with
        what it may answer, answers to one prompt are compared by the rewards, and what was better than the others becomes more
        probable (group relative policy optimisation [Shao2024]_, by TRL). Give it the same cells and columns as before and
        ``split_key="c2s_split"``, so that cells that were not learned from still are not. Groups of cells are shown as they were, so
        that ``n_cells``, ``n_genes``, ``style`` and ``evidence`` are not given again; columns that are left out are those of the model.
    rewards
        For ``"grpo"``: names of rewards that the task brings along (``"label_match"`` to annotate; ``"distribution"``,
        ``"rank_weighted_overlap"``, ``"kendall_tau"`` and ``"validity"`` to generate; ``"delta_correlation"``,
        ``"kendall_tau"`` and ``"rank_weighted_overlap"`` to perturb; ``"exact_answer"`` and ``"bert_score"`` to ask; ``"grounding"``,
        ``"bert_score"`` and ``"grounded"`` to summarize), or functions of ``sc_c2s.rl.rewards``, or any function of
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
    label_key
        Column of `obs` with cell types, for ``"summarize"`` and ``"ask"``: what groups consist of.
    sample_key, subgroup_key
        Columns of `obs` by which the cells that are shown are drawn, for ``"summarize"`` and ``"ask"``: all of one sample, subclusters in
        proportion.
    context
        Columns of `obs` that say where cells are from, such as the tissue or the condition, for ``"summarize"`` and ``"ask"``.
    texts
        For ``"summarize"``: a text, or several, about a group, by its name (with several columns in ``groupby`` their values with
        ``" | "`` between). Groups without one are described by a template, filled in from the data.
    evidence
        For ``"summarize"`` and ``"ask"``: whether the composition, the genes that are highest and the columns of ``context`` are shown
        beside the cells.
    style
        For ``"summarize"``: ``"abstract"`` or ``"caption"``.
    n_cells
        For ``"summarize"`` and ``"ask"``: cells of a group in a prompt, by default 20, of which each row shows others.
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
        For ``"grpo"``: updates of the model; by default 60, and 40 to ask and to summarize.
    n_generations
        For ``"grpo"``: answers to each prompt; by default 8 to annotate, to ask and to summarize, and 16 otherwise.
    n_words
        For ``"grpo"``: words of an answer; by default 200 words about a perturbation, and as many genes as half of the cells have, up to 256.
        Of answers to questions and of summaries, most tokens: 24 and 128.
    beta
        For ``"grpo"``: weight of the Kullback-Leibler divergence from the model at the start.
    tolerance
        For ``"grpo"``: training stops when the reward has risen while a score of the validation cells has fallen by more than
        this share of its best value, `patience` (2) times in a row. The state that was best by that score is kept.
    batch_size
        Rows in one training step, by default 32 for a nano, 8 for an adapter, and 4 for one that talks; for ``"grpo"`` prompts, by
        default 32 to annotate, 16 to perturb, 8 to generate, 4 to ask and 2 to summarize.
    learning_rate
        Peak of the learning rate; by default 5e-5 for a nano (1e-3 if it generates, 1e-4 if it perturbs) and 1e-3 for an adapter, less
        where its model is wider than 576 (5e-4 at 2,304); for ``"grpo"`` 1e-5 for a nano that annotates, 1e-4 for one that generates or
        perturbs, and 5e-5 for an adapter.
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
        learning={
            "n_epochs": n_epochs,
            "n_genes": n_genes,
            "n_top_genes": n_top_genes,
            "gene_tokens": gene_tokens,
            "n_cells": n_cells,
            "evidence": evidence,
            "style": style,
        },
        rewarding={
            "rewards": rewards,
            "reward_weights": reward_weights,
            "n_steps": n_steps,
            "n_generations": n_generations,
            "n_words": n_words,
        },
    )
    check_language(
        tasks,
        {
            "label_key": label_key,
            "sample_key": sample_key,
            "subgroup_key": subgroup_key,
            "context": columns(context) or None,
            "texts": texts,
            "evidence": evidence,
            "style": style,
            "n_cells": n_cells,
        },
    )
    groupings = columns(groupby)
    if "annotate" in tasks and (not groupings or (len(groupings) > 1 and len(tasks) == 1)):
        raise ValueError("To annotate, groupby= has to name one column of obs with the labels.")
    perturbing = perturbing_plan(tasks, groupings, condition_key, control, pairing, held_out, min_cells)
    start = logg.info("fine-tuning on cell sentences")
    cells = open_cells(
        data, mod=mod, layer=layer, use_raw=use_raw, gene_symbols=gene_symbols, mask_var=mask_var, copy=copy
    )
    how: dict[str, Any] = {
        "model": model,
        "method": method,
        "rewards": rewards,
        "reward_weights": reward_weights,
        "n_steps": n_steps,
        "n_generations": n_generations,
        "n_words": n_words,
        "beta": beta,
        "tolerance": tolerance,
        "organism": organism,
        "n_genes": n_genes,
        "n_top_genes": n_top_genes,
        "gene_tokens": gene_tokens,
        "by": None if split_key is None else cells.obs(split_key),
        "validation_size": validation_size,
        "test_size": test_size,
        "n_epochs": n_epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "patience": patience,
        "lora_rank": lora_rank,
        "device": device,
        "dtype": dtype,
        "output_dir": Path(output_dir),
        "resume": resume,
        "generator": resolve_rng(rng, random_state),
    }
    if set(tasks) & set(LANGUAGE):
        learned = learn_language(
            cells,
            tasks,
            groupings,
            label_key=label_key,
            sample_key=sample_key,
            subgroup_key=subgroup_key,
            context=columns(context),
            texts=texts,
            evidence=evidence,
            style=style,
            n_cells=n_cells,
            **how,
        )
    else:
        learned = learn_cells(cells, tasks, groupings, perturbing, held_out=held_out, **how)
    card = learned.card

    params = {
        **cells.params,
        "task": plain(tasks),
        "method": method,
        "groupby": plain(groupings),
        "split_key": split_key,
        **({} if not card.language else _shown(card.language["columns"])),
        **({} if perturbing is None else {"condition_key": condition_key, "control": control, "pairing": pairing}),
        "validation_size": validation_size,
        "test_size": test_size,
        "seed": card.seed,
        "base": card.base["name"],
        **({"rewards": np.array(card.base["rewards"], dtype=object)} if method == "grpo" else {}),
    }
    cells.write(
        obs={_keys.SPLIT: pd.Categorical(learned.split, categories=["train", "validation", "test"])},
        uns={
            key_added: {
                "history": learned.history,
                "metrics": pd.DataFrame.from_dict(card.metrics, orient="index"),
                "model": str(output_dir),
                "n_unlabelled": int(learned.split.isna().sum()),
                "params": params,
                **({} if learned.stopped is None else {"stopped": learned.stopped}),
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


def _shown(columns_of: Mapping[str, Any]) -> dict[str, Any]:
    """Columns that groups were read from, as they can be written."""
    return {"label_key": columns_of["label_key"], "context": plain(tuple(columns_of["context"]))}


def _tasks(task: str | Sequence[str]) -> tuple[str, ...]:
    tasks = (task,) if isinstance(task, str) else tuple(dict.fromkeys(task))
    unknown = [name for name in tasks if name not in TASKS]
    if unknown or not tasks:
        wrong = repr(unknown[0]) if unknown else "at all in task="
        raise ValueError(f"There is no task {wrong}; choose from {', '.join(map(repr, TASKS))}.")
    if set(tasks) & set(LANGUAGE) and not set(tasks) <= set(LANGUAGE):
        raise ValueError(
            "A model that talks about groups of cells learns nothing else: use 'summarize', 'ask', or both."
        )
    return tasks
