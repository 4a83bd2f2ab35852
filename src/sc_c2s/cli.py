"""``c2s``: the main jobs from a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

# Threads that wait by spinning, of numba and of torch, keep each other from working. Read
# once, when the first of the two is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    name="c2s",
    help="Language models that read cells: sentences, fine-tuning and annotation of AnnData and MuData files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

H5ad = Annotated[Path, typer.Argument(help="A .h5ad, .h5mu or .zarr file with the cells.", metavar="FILE")]
Labels = Annotated[
    list[str],
    typer.Option(
        "--label",
        help="Column of obs with the labels, for example cell_type; to generate, several if needed. To summarize and ask, the "
        "column, or columns, with the groups.",
    ),
]
Layer = Annotated[str | None, typer.Option(help="Take the expression from this layer instead of X.")]
UseRaw = Annotated[bool, typer.Option("--use-raw", help="Take the expression from .raw instead of X.")]
Symbols = Annotated[
    str | None, typer.Option("--gene-symbols", help="Column of var with gene names, where var_names are Ensembl ids.")
]
Mod = Annotated[str | None, typer.Option(help="Modality of a .h5mu file, for example rna.")]
NGenes = Annotated[int | None, typer.Option("--n-genes", help="Longest sentence, in genes.", min=1)]
EngineName = Annotated[
    str, typer.Option("--engine", help="Where the model runs: local, or server for the one at $OPENAI_BASE_URL.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto.")]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", help="Prompts read at once by the model, or requests under way.", min=1)
]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.")]
Epochs = Annotated[int | None, typer.Option("--epochs", help="How often each training cell is shown.", min=1)]
Groupby = Annotated[
    list[str] | None, typer.Option("--groupby", help="Column of obs with the groups; several are combined.")
]
Group = Annotated[list[str] | None, typer.Option("--group", help="Group to look at; by default all.")]
Talker = Annotated[
    str,
    typer.Option("--model", help="smollm2, a folder of c2s finetune, any causal language model, or one on a server."),
]
LabelKey = Annotated[
    str | None, typer.Option("--label-key", help="Column of obs with cell types: what a group consists of.")
]
SampleKey = Annotated[
    str | None, typer.Option("--sample-key", help="Column of obs with the sample: cells that are shown are of one.")
]
Context = Annotated[
    list[str] | None,
    typer.Option("--context", help="Column of obs that says where cells are from, such as the tissue; or several."),
]
Evidence = Annotated[
    bool | None, typer.Option("--evidence/--no-evidence", help="Show the model composition and marker genes as well.")
]
Style = Annotated[str | None, typer.Option("--style", help="Of a summary: abstract, or caption.")]
NCells = Annotated[int | None, typer.Option("--n-cells", help="Cells of a group in a prompt.", min=1)]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Most tokens of a text.", min=1)]
Temperature = Annotated[
    float,
    typer.Option("--temperature", help="0 takes the most probable words, 1 draws them as probable as they are.", min=0),
]
Results = Annotated[Path | None, typer.Option("--out", help="Where the cells with the texts are written, if at all.")]


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
    with _one_line_errors():
        import scanpy as sc

        from . import demo as job
        from .metrics import HEADINGS

        sc.settings.verbosity = "info"
        if h5ad is None:
            if label is not None:
                raise ValueError("--label belongs to your own cells: give them with --h5ad FILE.")
            data, label, use_raw = sc.datasets.pbmc68k_reduced(), "bulk_labels", True
            title = "700 blood cells, annotated from their sentences"
        else:
            if label is None:
                raise ValueError("--label is missing: name the column of obs that holds the labels of your cells.")
            data, title = _read(h5ad), f"{h5ad.name}, annotated from cell sentences"
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
    with _one_line_errors():
        from . import pp

        pp.sentences_to_parquet(
            _read(file, backed=True),
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
    with _one_line_errors():
        import scanpy as sc

        from . import _keys, tl
        from .data import open_results

        sc.settings.verbosity = "info"
        data = _read(file)
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
    with _one_line_errors():
        import scanpy as sc

        from . import _keys, tl
        from .data import open_results

        sc.settings.verbosity = "info"
        data = _read(file)
        where: dict[str, Any] = {"layer": layer, "use_raw": use_raw, "gene_symbols": gene_symbols, "mod": mod}
        where |= {"unknown_below": unknown_below, "batch_size": batch_size, "device": device, "rng": seed}
        where |= {"groupby": groupby, "level": level, "group_key": group_key, "n_cells": n_cells}
        tl.annotate(data, model=model, engine=engine, labels=labels, **where)
        _write(data, out)
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
    with _one_line_errors():
        import scanpy as sc

        sc.settings.verbosity = "info"
        how: dict[str, Any] = {"n_genes": n_genes, "temperature": temperature, "batch_size": batch_size}
        if prompt is not None:
            from .tl._prompted import prompted

            vocabulary = None if genes is None else list(_read(genes, backed=True).var_names)
            for line in prompted(prompt, model, genes=vocabulary, n_cells=n_cells or 1, rng=seed, device=device, **how):
                typer.echo(line)
            return
        if out is None:
            raise ValueError("--out is missing: name the file for the cells, or give a --prompt to print genes.")
        from . import tl
        from ._keys import JOIN

        if file is not None:
            data = _read(file)
            tl.generate(data, model=model, mod=mod, device=device, rng=seed, **how)
            _write(data, out)
        else:
            wanted = [tuple(one.split(JOIN)) for one in condition] if condition else None
            made = tl.generate(model=model, conditions=wanted, n_cells=n_cells or 1, device=device, rng=seed, **how)
            _write(made, out)
        typer.echo(f"generated  {out}")


@app.command()
def summarize(
    call: typer.Context,
    file: H5ad,
    groupby: Groupby = None,
    group: Group = None,
    model: Talker = "smollm2",
    engine: EngineName = "local",
    label_key: LabelKey = None,
    sample_key: SampleKey = None,
    context: Context = None,
    evidence: Evidence = None,
    style: Style = None,
    n_cells: NCells = None,
    n_genes: NGenes = None,
    max_tokens: MaxTokens = 192,
    temperature: Temperature = 0.0,
    layer: Layer = None,
    use_raw: UseRaw = False,
    gene_symbols: Symbols = None,
    mod: Mod = None,
    batch_size: BatchSize = None,
    device: Device = "auto",
    seed: Seed = 0,
    out: Results = None,
) -> None:
    """Describe groups of cells in prose, and check every claim."""
    with _one_line_errors():
        import scanpy as sc

        from . import _keys, tl

        sc.settings.verbosity = "info"
        data = _read(file)
        tl.summarize(data, groupby=groupby, groups=group, style=style, batch_size=batch_size, **_talking(call))
        _hand_over(data, mod, _keys.SUMMARY, out)


@app.command()
def ask(
    call: typer.Context,
    file: H5ad,
    question: Annotated[str, typer.Argument(help="The question.")],
    groupby: Groupby = None,
    group: Group = None,
    model: Talker = "smollm2",
    engine: EngineName = "local",
    choice: Annotated[
        list[str] | None, typer.Option("--choice", help="Answer to choose from; give two or more, or none.")
    ] = None,
    label_key: LabelKey = None,
    sample_key: SampleKey = None,
    context: Context = None,
    evidence: Evidence = None,
    n_cells: NCells = None,
    n_genes: NGenes = None,
    max_tokens: MaxTokens = 96,
    temperature: Temperature = 0.0,
    layer: Layer = None,
    use_raw: UseRaw = False,
    gene_symbols: Symbols = None,
    mod: Mod = None,
    batch_size: BatchSize = None,
    device: Device = "auto",
    seed: Seed = 0,
    out: Results = None,
) -> None:
    """Ask a question about groups of cells, and check every claim of the answers."""
    with _one_line_errors():
        import scanpy as sc

        from . import _keys, tl

        sc.settings.verbosity = "info"
        data = _read(file)
        tl.ask(data, question, groupby=groupby, groups=group, choices=choice, batch_size=batch_size, **_talking(call))
        _hand_over(data, mod, _keys.ANSWER, out)


@app.command()
def chat(
    call: typer.Context,
    file: H5ad,
    groupby: Groupby = None,
    group: Annotated[str | None, typer.Option(help="The group to talk about; by default all cells.")] = None,
    model: Talker = "smollm2",
    engine: EngineName = "local",
    label_key: LabelKey = None,
    sample_key: SampleKey = None,
    context: Context = None,
    evidence: Evidence = None,
    n_cells: NCells = None,
    n_genes: NGenes = None,
    max_tokens: MaxTokens = 96,
    temperature: Temperature = 0.0,
    layer: Layer = None,
    use_raw: UseRaw = False,
    gene_symbols: Symbols = None,
    mod: Mod = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Talk about a group of cells, turn by turn; an empty line, or the end of the input, ends it."""
    with _one_line_errors():
        from .tl._chat import open_chat

        talk = open_chat(_read(file), groupby=groupby, group=group, **_talking(call))
        typer.echo(talk.introduction)
        while question := _next_line():
            answer, claims = talk.ask(question)
            typer.echo(f"{answer}\n{_checked(claims)}")


@app.command()
def info() -> None:
    """Print versions and devices, for bug reports."""
    from ._session import info_text

    typer.echo(info_text())


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """Say what went wrong and how to mend it in one line; a bug in the package keeps its traceback."""
    try:
        yield
    except (ValueError, KeyError, OSError, ImportError, NotImplementedError) as error:
        # str() of a KeyError is the repr of its message.
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        typer.echo(f"c2s: {' '.join(str(message).split())}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("c2s: stopped; call it again to go on where a model was being trained.", err=True)
        sys.exit(130)


TALKING = (
    *("model", "engine", "label_key", "sample_key", "evidence", "n_cells", "n_genes", "max_tokens", "temperature"),
    *("layer", "use_raw", "gene_symbols", "mod", "device"),
)
"""Arguments of all that talks about groups that are called like their options."""


def _talking(call: typer.Context) -> dict[str, Any]:
    """Arguments of all that talks about groups, as they were given."""
    given = call.params
    return {name: given[name] for name in TALKING} | {"context": tuple(given["context"] or ()), "rng": given["seed"]}


def _hand_over(data: Any, mod: str | None, key: str, out: Path | None) -> None:
    """Print texts and what came of their claims, and write the file if it is wanted."""
    from . import get

    texts, claims = get.summary(data, key=key, mod=mod), get.claims(data, key=key, mod=mod)
    for name, row in texts.iterrows():
        chances = row.filter(like="proba_")
        sure = "".join(f"\n    {value:.3f} {str(choice).removeprefix('proba_')}" for choice, value in chances.items())
        typer.echo(f"\n{name}\n{row['text']}{sure}\n{_checked(claims[claims['group'] == name])}")
    if out is not None:
        _write(data, out)
        typer.echo(f"\nwritten    {out}")


def _checked(claims: Any) -> str:
    """Say in one line what came of the claims of a text."""
    counts = claims["verdict"].value_counts()
    said = [
        f"{counts[verdict]} {verdict}"
        for verdict in ("confirmed", "contradicted", "not checkable")
        if verdict in counts
    ]
    wrong = claims.loc[claims["verdict"] == "contradicted"]
    details = "".join(f"\n    {row.words!r}: said {row.said}, found {row.found}" for row in wrong.itertuples())
    return f"[{', '.join(said) or 'no claim that can be looked up'}]{details}"


def _next_line() -> str:
    """Read a question; empty at the end of the input."""
    if sys.stdin.isatty():
        typer.echo("> ", nl=False)
    return sys.stdin.readline().strip()


def _read(file: Path, *, backed: bool = False) -> Any:
    if not file.exists():
        raise FileNotFoundError(f"There is no file {str(file)!r}: check the path.")
    if file.suffix == ".h5mu":
        import mudata

        with _as_of_mudata_0_4():
            return mudata.read_h5mu(file, backed="r" if backed else None)
    import anndata

    if file.suffix == ".zarr":
        return anndata.read_zarr(file)
    if file.suffix != ".h5ad":
        raise ValueError(f"{file.name!r} is neither .h5ad nor .h5mu nor .zarr: convert it, for example with scanpy.")
    return anndata.read_h5ad(file, backed="r" if backed else None)


def _write(data: Any, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with _as_of_mudata_0_4() if hasattr(data, "mod") else contextlib.nullcontext():
        if out.suffix == ".zarr":
            data.write_zarr(out)
        else:
            data.write(out)


def _as_of_mudata_0_4() -> contextlib.AbstractContextManager[Any]:
    """Copy no columns of the modalities to the whole but our own, and have no warning of it."""
    import mudata

    return mudata.set_options(pull_on_update=False)


if __name__ == "__main__":
    app()
