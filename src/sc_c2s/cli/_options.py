"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
