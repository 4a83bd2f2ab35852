"""Commands that talk about groups of cells."""

from __future__ import annotations

import sys
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
    Evidence,
    Group,
    Groupby,
    H5ad,
    LabelKey,
    Layer,
    MaxTokens,
    Mod,
    NCells,
    NGenes,
    Results,
    SampleKey,
    Seed,
    Style,
    Symbols,
    Talker,
    Temperature,
    UseRaw,
)


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
    with one_line_errors():
        import scanpy as sc

        from sc_c2s import _keys, tl

        sc.settings.verbosity = "info"
        data = read(file)
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
    with one_line_errors():
        import scanpy as sc

        from sc_c2s import _keys, tl

        sc.settings.verbosity = "info"
        data = read(file)
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
    with one_line_errors():
        from sc_c2s.tl._chat import open_chat

        talk = open_chat(read(file), groupby=groupby, group=group, **_talking(call))
        typer.echo(talk.introduction)
        while question := _next_line():
            answer, claims = talk.ask(question)
            typer.echo(f"{answer}\n{_checked(claims)}")


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
    from sc_c2s import get

    texts, claims = get.summary(data, key=key, mod=mod), get.claims(data, key=key, mod=mod)
    for name, row in texts.iterrows():
        chances = row.filter(like="proba_")
        sure = "".join(f"\n    {value:.3f} {str(choice).removeprefix('proba_')}" for choice, value in chances.items())
        typer.echo(f"\n{name}\n{row['text']}{sure}\n{_checked(claims[claims['group'] == name])}")
    if out is not None:
        write(data, out)
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
