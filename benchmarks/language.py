"""What a small language model says about held-out groups of cells, beside a template and beside itself untuned.

    python benchmarks/language.py summaries questions --seeds 1
    python benchmarks/language.py cost
    python benchmarks/language.py summaries questions --server NAME   # the same questions to a served model (OPENAI_BASE_URL)

Kang et al., 13 types: groups are the clusters (k-means, blind to labels) of each donor under each condition; two donors are
held out as test groups, one to choose by. pbmc3k, 9 types, one donor: groups are clusters, a quarter of them test groups. Every
model is shown the same cells of a group. "Shuffled cells" shows the cells of another group of the same set (and, where evidence
is shown, its evidence): a model that scores the same reads nothing.

Summaries: ``confirmed``, ``contradicted``, ``not_checkable`` are shares of all claims (sc_c2s.metrics.grounding), the
``composition_error`` is the total variation distance of what is stated, and ``bert_score`` is the F1 against the template with
MiniLM. Questions: accuracy on questions with known answers; "no cells" answers what was most often right in training. "Evidence
by a nano" has the types and conditions that annotators of single cells predict in place of the data's, "evidence by the model" those
that the language model predicts (`--annotate 2`), cell by cell, with an adapter for that. "Looked up" answers from
the same evidence by rule: what a model that is shown evidence cannot beat; of "cells" from as many cells as are shown, with the types
and conditions that the nanos predict: about what can be read from cells alone. `--no-model` prints what needs no language model.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scanpy as sc
import torch
from _data import load
from sklearn.cluster import KMeans

import sc_c2s as c2s
from sc_c2s.data import open_cells
from sc_c2s.engine import LocalEngine
from sc_c2s.metrics import summaries as scores_of
from sc_c2s.models import directory
from sc_c2s.prompts import get_family
from sc_c2s.prompts.group import LEAST_SHOWN
from sc_c2s.tl._finetune_language import sets_of
from sc_c2s.training.groups import Groups
from sc_c2s.training.language import MAX_TOKENS, GroupRows, Item, Wording, answer_questions, template
from sc_c2s.training.language_run import TOP_GENES
from sc_c2s.training.questions import Question, baseline, is_right, questions_about

LABELS, GROUP, SET = "type", "group", "set"
N_TEST, FEWEST = 2, 10
N_DRAWS = 20
"""How often a few cells of each group are drawn for what can be read from them."""


def grouped(adata: sc.AnnData, n_clusters: int) -> pd.Series:
    """Cluster of each cell (k-means, blind to labels)."""
    log = adata.copy()
    sc.pp.normalize_total(log, target_sum=1e4)
    sc.pp.log1p(log)
    sc.pp.highly_variable_genes(log, n_top_genes=2000)
    sc.pp.pca(log, mask_var="highly_variable", n_comps=20, random_state=0)
    return pd.Series(KMeans(n_clusters, random_state=0, n_init=4).fit_predict(log.obsm["X_pca"]), adata.obs_names)


def kang(seed: int) -> sc.AnnData:
    """Eight donors, two of them test groups: clusters of each donor under each condition."""
    adata = load("kang")
    adata = adata[adata.obs["cell_type_seurat"].notna()].copy()
    obs = adata.obs
    obs[LABELS] = obs["cell_type_seurat"]
    group = obs["donor"].astype(str) + " | " + obs["condition"].astype(str) + " | " + grouped(adata, 6).astype(str)
    obs[GROUP] = group.where(group.groupby(group).transform("size") >= FEWEST)
    donors = np.random.default_rng(seed).permutation(sorted(obs["donor"].astype(str).unique()))
    sets = dict.fromkeys(donors, "train") | {donors[N_TEST]: "validation"} | dict.fromkeys(donors[:N_TEST], "test")
    obs[SET] = pd.Categorical(obs["donor"].astype(str).map(sets))
    return adata


def pbmc3k(seed: int) -> sc.AnnData:
    """One donor: forty clusters, of which ten are test groups."""
    adata = load("pbmc3k")
    adata = adata[adata.obs["cell_type"].notna()].copy()
    adata.obs[LABELS] = adata.obs["cell_type"]
    group = "cluster " + grouped(adata, 40).astype(str)
    adata.obs[GROUP] = group.where(group.groupby(group).transform("size") >= FEWEST)
    names = np.random.default_rng(seed).permutation(sorted(adata.obs[GROUP].dropna().unique()))
    n = len(names) // 4
    sets = (
        dict.fromkeys(names, "train") | dict.fromkeys(names[n : 2 * n], "validation") | dict.fromkeys(names[:n], "test")
    )
    adata.obs[SET] = pd.Categorical(adata.obs[GROUP].map(sets))
    return adata


DATA = {"kang": kang, "pbmc3k": pbmc3k}
CONTEXT = {"kang": ["condition"], "pbmc3k": []}


def read(adata: sc.AnnData, context: list[str]) -> dict[str, Groups]:
    """Groups of each set."""
    cells = open_cells(adata)
    split = adata.obs[SET].astype(object).where(adata.obs[GROUP].notna(), np.nan)
    sets, _ = sets_of(
        cells,
        cells.labels(GROUP),
        split,
        label_key=LABELS,
        sample_key=None,
        subgroup_key=None,
        context=context,
        organism="human",
    )
    return sets


def mixed_up(names: list[str], seed: int) -> dict[str, str]:
    """Another group for each, drawn: sorted names would set a donor's groups beside the same clusters of the next donor."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(names))
    # Everyone moves on by one in a random circle, so that no group stays where it is.
    return {names[i]: names[j] for i, j in zip(order, np.roll(order, 1), strict=True)}


def learned(adata: sc.AnnData, path: Path, **how: Any) -> Path:
    """Train, unless that was done before."""
    if directory.is_model_directory(path):
        return path
    start = time.monotonic()
    c2s.tl.finetune(adata, output_dir=path, split_key=SET, **how)
    (path / "minutes.txt").write_text(f"{(time.monotonic() - start) / 60:.1f}")
    print(adata.uns["c2s_finetune"]["history"].to_string(index=False, float_format="{:.3f}".format), flush=True)
    return path


def tuned(adata: sc.AnnData, task: str, home: Path, args: argparse.Namespace, seed: int, *, evidence: bool) -> Path:
    """Teach the model to talk."""
    return learned(
        adata,
        home / f"{args.data}-{task}-{'evidence' if evidence else 'cells'}-{seed}",
        groupby=GROUP,
        task=task,
        model=args.model,
        label_key=LABELS,
        context=CONTEXT[args.data],
        evidence=evidence,
        n_cells=args.cells,
        n_genes=args.genes,
        learning_rate=args.rate,
        batch_size=args.batch,
        n_top_genes=args.top,
        n_epochs=args.epochs,
        rng=seed,
    )


def improved(adata: sc.AnnData, task: str, path: Path, args: argparse.Namespace, seed: int) -> Path:
    """Train a tuned model further with rewards."""
    better = path.with_name(f"{path.name}-rewards")
    how = {"groupby": GROUP, "task": task, "method": "grpo", "model": path, "n_steps": args.rewards, "rng": seed}
    return learned(adata, better, **how)


def annotated(adata: sc.AnnData, home: Path, args: argparse.Namespace, seed: int) -> sc.AnnData:
    """Have nanos that know the training and validation cells name type and condition of all cells, instead of the data."""
    cells = adata.copy()
    for column in (LABELS, *CONTEXT[args.data]):
        path = learned(adata.copy(), home / f"{args.data}-nano-{column}-{seed}", groupby=column, rng=seed)
        c2s.tl.annotate(cells, model=path, key_added=f"nano_{column}")
        cells.obs[column] = cells.obs[f"nano_{column}"]
    return cells


def annotated_in_words(adata: sc.AnnData, home: Path, args: argparse.Namespace, seed: int) -> sc.AnnData:
    """Have the language model itself name them, cell by cell, after it has learned that."""
    cells, columns = adata.copy(), [LABELS, *CONTEXT[args.data]]
    cells.obs["kind"] = cells.obs[columns].astype(str).agg(", ".join, axis=1)
    path = learned(
        cells,
        home / f"{args.data}-annotate-{seed}",
        groupby="kind",
        model=args.model,
        n_genes=32,
        n_top_genes=args.top or TOP_GENES,
        n_epochs=args.annotate,
        rng=seed,
    )
    test = cells[cells.obs[SET] == "test"].copy()
    c2s.tl.annotate(test, model=path, key_added="said")
    said = test.obs["said"].astype(str).str.split(", ", regex=False, expand=True)
    for number, column in enumerate(columns):
        cells.obs[column] = cells.obs[column].astype(object)
        cells.obs.loc[test.obs_names, column] = said[number]
    return cells


def named_right(named: pd.DataFrame, known: pd.DataFrame) -> tuple[float, float]:
    """Share of the test cells whose columns are all right, and the same of what is most common in training."""
    kind, truth = (one.astype(str).agg(", ".join, axis=1) for one in (named, known.drop(columns=SET)))
    usual = truth[known[SET] == "train"].mode()[0]
    test = known[SET] == "test"
    return float((kind == truth)[test].mean()), float((truth == usual)[test].mean())


def looked_up(question: Question, groups: Groups) -> str:
    """Answer from what the evidence says, without a model."""
    composition, context = groups.composition(question.group) or {}, groups.facts[question.group].context
    if question.kind in context:
        return max(context[question.kind], key=lambda value: context[question.kind][value])
    if question.kind == "marker":
        known = {gene: place for place, gene in enumerate(groups.markers[question.group])}
        return min(question.choices, key=lambda gene: known.get(gene, len(known)))
    asked = max((label for label in composition if label in question.text), key=len, default="")
    if question.kind == "present":
        return "yes" if composition.get(asked, 0) >= LEAST_SHOWN else "no"
    if question.kind == "share":
        return f"{100 * composition.get(asked, 0):.0f}%"
    among = question.choices or tuple(composition)
    return max(among, key=lambda label: composition.get(label, 0))


def of_few(groups: Groups, n_cells: int, seed: int) -> Groups:
    """Say of the groups what a few cells of each, drawn, say: types, context, and the genes by how much higher they are."""
    rng, facts, markers = np.random.default_rng(seed), {}, {}
    mean = np.asarray(groups.log.mean(axis=0)).ravel()
    for name in groups.names:
        drawn = groups.draw(name, n_cells, rng)
        known = groups.facts[name].composition.index  # types that are not among the cells have a share of 0
        labels = pd.Series(groups.labels[drawn]).value_counts(normalize=True).reindex(known, fill_value=0.0)
        context = {
            column: pd.Series(values[drawn]).value_counts(normalize=True).to_dict()
            for column, values in groups.context.items()
        }
        facts[name] = replace(groups.facts[name], composition=labels, context=context)
        higher = np.asarray(groups.log[drawn].mean(axis=0)).ravel() - mean
        markers[name] = list(groups.genes[np.argsort(-higher, kind="stable")])
    return replace(groups, facts=facts, markers=markers)


def minutes(path: Path) -> float:
    file = path / "minutes.txt"
    return float(file.read_text()) if file.is_file() else np.nan


def rows_for(
    engine: Any, card: Any, groups: Groups, items: list[Item], args: argparse.Namespace, *, evidence: bool
) -> GroupRows:
    """What a model is asked: as it was trained, or in plain English."""
    vocabulary = groups.genes if card is None else np.array(card.genes, dtype=object)
    family = "english" if card is None else card.family
    return GroupRows(
        groups, items, Wording(family, args.cells, args.genes, evidence=evidence), vocabulary, engine.written, seed=0
    )


def opened(args: argparse.Namespace, path: Path | None) -> tuple[Any, Any]:
    """Engine, and its card if it was trained."""
    if path is None and args.server:
        from sc_c2s.engine import ServerEngine

        return ServerEngine(args.server), None
    model = c2s.models.load(args.model if path is None else path)
    return LocalEngine(model.model, model.tokenizer), None if path is None else directory.read(path)


def summaries(args: argparse.Namespace, seed: int, home: Path) -> pd.DataFrame:
    """Score what is said about the test groups."""
    adata = DATA[args.data](seed)
    sets = read(adata, CONTEXT[args.data])
    test = sets["test"]
    items = [Item(name) for name in test.names]
    facts = [test.facts[name] for name in test.names]
    reference = [template(test, name, style="abstract") for name in test.names]
    table: dict[str, dict[str, float]] = {}

    def score(name: str, texts: list[str], **more: float) -> None:
        plain = [get_family("marked").prose(text) for text in texts]
        table[name] = {**scores_of(plain, facts, references=reference), **more}
        print(f"{name}: {texts[0]}\n", flush=True)

    score("template", reference)
    of = dict(zip(test.names, reference, strict=True))
    instead = mixed_up(test.names, seed)
    score("template of another group", [of[instead[name]] for name in test.names])
    for evidence in [shown == "evidence" for shown in args.show or ["evidence"]]:
        what = "evidence" if evidence else "cells alone"
        engine, card = opened(args, None)
        rows = rows_for(engine, card, test, items, args, evidence=evidence)
        score(f"untuned, {what}", engine.chat([rows.asked(i) for i in range(len(items))], max_tokens=MAX_TOKENS))
        if args.server:
            continue
        path = tuned(adata, "summarize", home, args, seed, evidence=evidence)
        engine, card = opened(args, path)
        rows = rows_for(engine, card, test, items, args, evidence=evidence)
        score(
            f"tuned, {what}",
            engine.chat([rows.asked(i) for i in range(len(items))], max_tokens=MAX_TOKENS),
            minutes=minutes(path),
        )
        rows = replace(rows, instead=instead)
        score(
            f"tuned, {what}, shuffled cells",
            engine.chat([rows.asked(i) for i in range(len(items))], max_tokens=MAX_TOKENS),
        )
    return pd.DataFrame.from_dict(table, orient="index")


def questions(args: argparse.Namespace, seed: int, home: Path) -> pd.DataFrame:
    """Score answers to questions about the test groups."""
    adata = DATA[args.data](seed)
    sets = read(adata, CONTEXT[args.data])
    test = sets["test"]
    asked = questions_about(test, seed=1000 + seed)
    items = [Item(one.group, question=one) for one in asked]
    kinds = np.array([one.kind for one in asked])
    table: dict[str, dict[str, float]] = {}

    def score(name: str, right: np.ndarray, **more: float) -> None:
        by_kind = {kind: float(right[kinds == kind].mean()) for kind in dict.fromkeys(kinds)}
        closed = np.array([bool(one.choices) for one in asked])
        table[name] = {"all": right.mean(), "with choices": right[closed].mean(), **by_kind, "n": len(right), **more}

    def answered(engine: Any, rows: GroupRows) -> np.ndarray:
        texts = answer_questions(engine, [(rows.asked(i), one) for i, one in enumerate(asked)])
        return np.array([is_right(text, one) for text, one in zip(texts, asked, strict=True)], dtype=float)

    score("chance", np.array([1 / len(one.choices) if one.choices else 0.0 for one in asked]))
    guess = baseline(questions_about(sets["train"], seed=seed))
    score("no cells: most often right", np.array([is_right(guess(one), one) for one in asked], dtype=float))
    by = {"a nano": annotated} | ({"the model": annotated_in_words} if args.annotate else {})
    guessed, columns = {}, [LABELS, *CONTEXT[args.data]]
    for who, label in by.items():
        cells = label(adata, home, args, seed)
        guessed[who] = read(cells, CONTEXT[args.data])["test"]
        right, usual = named_right(cells.obs[columns], adata.obs[[*columns, SET]])
        print(f"test cells named right by {who}: {right:.3f}; the most common: {usual:.3f}", flush=True)
    shown = {"evidence": [test]} | {f"evidence by {who}": [groups] for who, groups in guessed.items()}
    shown["cells by a nano"] = [of_few(guessed["a nano"], args.cells, draw) for draw in range(N_DRAWS)]
    for what, several in shown.items():
        answers = [[is_right(looked_up(one, groups), one) for one in asked] for groups in several]
        score(f"looked up, {what}", np.mean(answers, axis=0))
    if args.no_model:
        return pd.DataFrame.from_dict(table, orient="index")
    for evidence in [one == "evidence" for one in args.show or ["evidence", "cells"]]:
        what = "evidence" if evidence else "cells alone"
        engine, card = opened(args, None)
        rows = rows_for(engine, card, test, items, args, evidence=evidence)
        score(f"untuned, {what}", answered(engine, rows))
        if args.server:
            continue
        path = tuned(adata, "ask", home, args, seed, evidence=evidence)
        engine, card = opened(args, path)
        rows = rows_for(engine, card, test, items, args, evidence=evidence)
        score(f"tuned, {what}", answered(engine, rows), minutes=minutes(path))
        for who, groups in guessed.items() if evidence else ():
            score(f"tuned, evidence by {who}", answered(engine, replace(rows, groups=groups)))
        score(f"tuned, {what}, shuffled cells", answered(engine, replace(rows, instead=mixed_up(test.names, seed))))
        if args.rewards:
            path = improved(adata, "ask", path, args, seed)
            engine, card = opened(args, path)
            rows = rows_for(engine, card, test, items, args, evidence=evidence)
            score(f"rewarded, {what}", answered(engine, rows), minutes=minutes(path))
            score(
                f"rewarded, {what}, shuffled cells", answered(engine, replace(rows, instead=mixed_up(test.names, seed)))
            )
    return pd.DataFrame.from_dict(table, orient="index")


def cost(args: argparse.Namespace, seed: int, home: Path) -> pd.DataFrame:
    """Measure one prompt of 40 cells with 100 genes each, against the bare forward pass over as many tokens."""
    adata = DATA[args.data](seed)
    test = read(adata, CONTEXT[args.data])["test"]
    name = max(test.names, key=lambda one: len(test.members[one]))
    table = {}
    loaded = c2s.models.load(args.model)
    for what, family in (("pieces", "english"), ("gene tokens", "marked")):
        if family == "marked":
            shown = pd.Series(np.asarray(test.x.sum(axis=0)).ravel(), index=test.genes).nlargest(args.tokens).index
            loaded = c2s.models.add_gene_tokens(loaded, list(shown))
            vocabulary = np.array(shown, dtype=object)
        else:
            vocabulary = test.genes
        engine = LocalEngine(loaded.model, loaded.tokenizer, quiet=True)
        for n_cells, n_genes in ((5, 25), (20, 50), (40, 100)):
            rows = GroupRows(test, [Item(name)], Wording(family, n_cells, n_genes), vocabulary, engine.written, seed=0)
            conversation = rows.asked(0)
            n_tokens = int(engine.count([engine.written(conversation)])[0])
            row: dict[str, float] = {"tokens": n_tokens}
            if n_tokens < engine.context:
                engine.chat([conversation], max_tokens=1)
                row["seconds"] = timed(lambda c=conversation, e=engine: e.chat([c], max_tokens=1))
                row["forward pass"] = timed(lambda n=n_tokens, m=loaded.model: bare(m, n))
                row["ratio"] = row["seconds"] / row["forward pass"]
                row["ms a token"] = 1000 * row["seconds"] / n_tokens
            table[f"{n_cells} cells x {n_genes} genes, {what}"] = row
    return pd.DataFrame.from_dict(table, orient="index")


def timed(run: Any) -> float:
    """Shortest of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def bare(model: Any, n_tokens: int) -> None:
    with torch.inference_mode():
        model(input_ids=torch.zeros((1, n_tokens), dtype=torch.long), logits_to_keep=1, use_cache=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=["summaries", "questions", "cost"])
    parser.add_argument("--data", default="kang", choices=sorted(DATA))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--no-model", action="store_true", help="only what needs no language model, of the questions")
    parser.add_argument("--server", help="name of a model on the server that OPENAI_BASE_URL names")
    parser.add_argument("--cells", type=int, default=20, help="cells of each group")
    parser.add_argument("--genes", type=int, default=15, help="genes of each cell")
    parser.add_argument("--rate", type=float, help="learning rate")
    parser.add_argument("--batch", type=int, help="rows of a step")
    parser.add_argument("--top", type=int, help="genes that are shown at all: those that tell types apart best")
    parser.add_argument("--tokens", type=int, default=2000, help="genes with a token, for the cost")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--show", nargs="+", choices=["evidence", "cells"], help="cells with evidence, and cells alone")
    parser.add_argument(
        "--annotate", type=int, help="the model, too, learns to annotate single cells, for so many epochs"
    )
    parser.add_argument("--rewards", type=int, help="go on with rewards for so many steps, for questions")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--keep", type=Path, help="folder for the trained models, which are taken from there the next time"
    )
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    sc.settings.verbosity = 1
    with tempfile.TemporaryDirectory() as folder:
        for what in args.what:
            tables = []
            for seed in range(args.first, args.first + (1 if what == "cost" else args.seeds)):
                tables.append(globals()[what](args, seed, args.keep or Path(folder)))
                print(f"\n{what}, seed {seed}\n{tables[-1].to_string(float_format='{:.3f}'.format)}\n", flush=True)
            if len(tables) > 1:
                together = pd.concat(tables, keys=range(len(tables)))
                for name, table in (
                    ("mean", together.groupby(level=1).mean()),
                    ("sd", together.groupby(level=1).std()),
                ):
                    print(f"\n{what}, {name} over {len(tables)} seeds")
                    print(table.loc[tables[0].index].to_string(float_format="{:.3f}".format), flush=True)


if __name__ == "__main__":
    main()
