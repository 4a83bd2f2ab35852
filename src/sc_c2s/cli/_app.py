"""The program, and how it says what went wrong."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import typer

app = typer.Typer(
    name="c2s",
    help="Language models that read cells: sentences, fine-tuning and annotation of AnnData and MuData files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
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
