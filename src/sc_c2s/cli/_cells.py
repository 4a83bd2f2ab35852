"""Commands that read and write cells, each by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ._app import app, one_line_errors
from ._files import read, write
from ._options import (
    BatchSize,
    Context,
    Device,
    EngineName,
    Epochs,
    Evidence,
    H5ad,
    LabelKey,
    Labels,
    Layer,
    Mod,
    NCells,
    NGenes,
    SampleKey,
    Seed,
    Style,
    Symbols,
    UseRaw,
)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report, the model and the annotated file.")] = Path(
        "c2s_demo"
    ),
    h5ad: Annotated[
        Path | None, typer.Option("--h5ad", help="Your own cells (.h5ad, .h5mu, .zarr) instead of scanpy's 700.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Column of obs that holds the labels of your cells.")
    ] = None,
    layer: Layer = None,
    use_raw: UseRaw = False,
    gene_symbols: Symbols = None,
    mod: Mod = None,
    epochs: Epochs = None,
    seed: Seed = 0,
) -> None:
    """Train and test an annotator on scanpy's 700 blood cells, or on yours, and write a report."""
    with one_line_errors():
        import scanpy as sc

        from sc_c2s import demo as job
        from sc_c2s.metrics import HEADINGS

        sc.settings.verbosity = "info"
        if h5ad is None:
            if label is not None:
                raise ValueError("--label belongs to your own cells: give them with --h5ad FILE.")
            data, label, use_raw = sc.datasets.pbmc68k_reduced(), "bulk_labels", True
            title = "700 blood cells, annotated from their sentences"
        else:
            if label is None:
                raise ValueError("--label is missing: name the column of obs that holds the labels of your cells.")
            data, title = read(h5ad), f"{h5ad.name}, annotated from cell sentences"
        done = job.run(
            data,
            out,
            groupby=label,
            title=title,
            mod=mod,
            layer=layer,
            use_raw=use_raw,
            gene_symbols=gene_symbols,
            n_epochs=epochs,
            rng=seed,
        )
        shown = ["accuracy", "macro_f1", "balanced_accuracy", "ece", "ece_chance", "n"]
        typer.echo(f"\nTest cells, label {label!r}:\n")
        typer.echo(done.table[shown].rename(columns=HEADINGS).to_string(float_format="{:.3f}".format))
        typer.echo(f"\nreport     {done.report}\nannotated  {done.annotated}\nmodel      {done.model}")


@app.command()
def sentences(
    file: H5ad,
    out: Annotated[Path, typer.Option(help="Parquet file with a sentence for each cell.")],
    layer: Layer = None,
    use_raw: UseRaw = False,
    gene_symbols: Symbols = None,
    mod: Mod = None,
    n_genes: NGenes = 1000,
) -> None:
    """Write the sentence of every cell to a Parquet file, reading the cells piece by piece."""
    with one_line_errors():
        from sc_c2s import pp

        pp.sentences_to_parquet(
            read(file, backed=True),
            out,
            n_genes=n_genes,
            layer=layer,
            use_raw=use_raw,
            gene_symbols=gene_symbols,
            mod=mod,
        )
        typer.echo(f"sentences  {out}")


SHOWN = (
    *("accuracy", "macro_f1", "ece", "n", "nats_per_gene", "pearson_delta", "r2_delta"),
    *("n_claims", "confirmed", "contradicted", "composition_error"),
)
"""Scores that are printed."""


@app.command()
def finetune(
    file: H5ad,
    label: Labels,
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    model: Annotated[
        str, typer.Option(help="What to start from: nano, smollm2, a model folder, or an id on the Hugging Face hub.")
    ] = "nano",
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="What to learn: annotate (if not given), generate, perturb, summarize or ask; the first two, and the last two, "
            "go together."
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="sft learns from examples; grpo goes on with rewards from a model that sft trained.")
    ] = "sft",
    reward: Annotated[
        list[str] | None,
        typer.Option(
            help="Reward for grpo, such as label_match or distribution; several add up. The task has its own."
        ),
    ] = None,
    reward_weight: Annotated[list[float] | None, typer.Option(help="Weight of each --reward, in their order.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of grpo.", min=1)] = None,
    condition_key: Annotated[str | None, typer.Option(help="Column of obs with perturbations, for perturb.")] = None,
    control: Annotated[str | None, typer.Option(help="Its value for cells to which nothing was done.")] = None,
    label_key: LabelKey = None,
    sample_key: SampleKey = None,
    context: Context = None,
    evidence: Evidence = None,
    style: Style = None,
    n_cells: NCells = None,
    split: Annotated[
        str | None, typer.Option(help="Column of obs with train/validation/test, or with donors to keep together.")
    ] = None,
    layer: Layer = None,
    use_raw: UseRaw = False,
    gene_symbols: Symbols = None,
    mod: Mod = None,
    n_genes: NGenes = None,
    epochs: Epochs = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Fine-tune a model on labelled cells; call it again to go on after an interruption."""
    with one_line_errors():
        import scanpy as sc

        from sc_c2s import _keys, tl
        from sc_c2s.data import open_results

        sc.settings.verbosity = "info"
        data = read(file)
        tl.finetune(
            data,
            groupby=label[0] if len(label) == 1 else label,
            task=task or "annotate",
            output_dir=out,
            model=model,
            method=method,
            rewards=reward,
            reward_weights=reward_weight,
            n_steps=steps,
            condition_key=condition_key,
            control=control,
            label_key=label_key,
            sample_key=sample_key,
            context=context or (),
            evidence=evidence,
            style=style,
            n_cells=n_cells,
            split_key=split,
            layer=layer,
            use_raw=use_raw,
            gene_symbols=gene_symbols,
            mod=mod,
            n_genes=n_genes,
            n_epochs=epochs,
            device=device,
            rng=seed,
        )
        scores = open_results(data, mod).adata.uns[_keys.FINETUNE]["metrics"]
        shown = [name for name in SHOWN if name in scores]
        typer.echo(scores[shown].to_string(float_format="{:.3f}".format))
        typer.echo(f"model      {out}")


@app.command()
def annotate(
    file: H5ad,
    model: Annotated[
        str,
        typer.Option(help="Folder that c2s finetune or c2s demo wrote, any causal language model, or one on a server."),
    ],
    out: Annotated[Path, typer.Option(help="Where the annotated file is written (.h5ad, .h5mu or .zarr).")],
    engine: EngineName = "local",
    labels: Annotated[
        list[str] | None,
        typer.Option(help="Label to choose from, once for each; a model that was fine-tuned knows its own."),
    ] = None,
    groupby: Annotated[
        str | None, typer.Option(help="What a label is, in words for the model, for example tissue.")
    ] = None,
    level: Annotated[
        str, typer.Option(help="cell labels each cell by itself, group all cells of a group alike.")
    ] = "cell",
    group_key: Annotated[str | None, typer.Option(help="Column of obs with the groups.")] = None,
    n_cells: NCells = None,
    unknown_below: Annotated[
        float | None, typer.Option(help='Call cells below this confidence "unknown".', min=0, max=1)
    ] = None,
    layer: Layer = None,
    use_raw: UseRaw = False,
    gene_symbols: Symbols = None,
    mod: Mod = None,
    batch_size: BatchSize = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Name the label of every cell, or of groups of cells, with a fine-tuned model, or with any that is given the labels."""
    with one_line_errors():
        import scanpy as sc

        from sc_c2s import _keys, tl
        from sc_c2s.data import open_results

        sc.settings.verbosity = "info"
        data = read(file)
        where: dict[str, Any] = {"layer": layer, "use_raw": use_raw, "gene_symbols": gene_symbols, "mod": mod}
        where |= {"unknown_below": unknown_below, "batch_size": batch_size, "device": device, "rng": seed}
        where |= {"groupby": groupby, "level": level, "group_key": group_key, "n_cells": n_cells}
        tl.annotate(data, model=model, engine=engine, labels=labels, **where)
        write(data, out)
        found = open_results(data, mod)
        if level == "group":
            typer.echo(found.adata.uns[_keys.CELL_TYPE]["groups"].to_string(float_format="{:.3f}".format))
        else:
            typer.echo(found.obs(_keys.CELL_TYPE).value_counts(dropna=False).to_string())
        typer.echo(f"annotated  {out}")


@app.command()
def generate(
    file: Annotated[
        Path | None,
        typer.Argument(help="Cells to generate one beside each of (.h5ad, .h5mu or .zarr).", metavar="[FILE]"),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Folder that c2s finetune --task generate wrote, or any causal language model.")
    ] = ...,  # type: ignore[assignment]
    prompt: Annotated[
        str | None, typer.Option(help='What to generate, for example "Generate gene list for B cells"; printed.')
    ] = None,
    genes: Annotated[
        Path | None, typer.Option(help="Cells whose genes a model may write that does not name its own.")
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(help="Condition of new cells; with several groupings, the values with ' | ' between."),
    ] = None,
    n_cells: Annotated[
        int | None, typer.Option("--n-cells", help="Number of new cells (of each condition).", min=1)
    ] = None,
    n_genes: NGenes = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="0 writes the most probable genes, 1 draws them as probable as they are; if not given, the model's.",
            min=0,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the cells are written (.h5ad, .h5mu or .zarr).")] = None,
    mod: Mod = None,
    batch_size: Annotated[int | None, typer.Option(help="Cells written at once by the model.", min=1)] = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Generate cells: a gene list for a prompt, new cells of some condition, or one beside each cell of a file."""
    with one_line_errors():
        import scanpy as sc

        sc.settings.verbosity = "info"
        how: dict[str, Any] = {"n_genes": n_genes, "temperature": temperature, "batch_size": batch_size}
        if prompt is not None:
            from sc_c2s.tl._prompted import prompted

            vocabulary = None if genes is None else list(read(genes, backed=True).var_names)
            for line in prompted(prompt, model, genes=vocabulary, n_cells=n_cells or 1, rng=seed, device=device, **how):
                typer.echo(line)
            return
        if out is None:
            raise ValueError("--out is missing: name the file for the cells, or give a --prompt to print genes.")
        from sc_c2s import tl
        from sc_c2s._keys import JOIN

        if file is not None:
            data = read(file)
            tl.generate(data, model=model, mod=mod, device=device, rng=seed, **how)
            write(data, out)
        else:
            wanted = [tuple(one.split(JOIN)) for one in condition] if condition else None
            made = tl.generate(model=model, conditions=wanted, n_cells=n_cells or 1, device=device, rng=seed, **how)
            write(made, out)
        typer.echo(f"generated  {out}")
