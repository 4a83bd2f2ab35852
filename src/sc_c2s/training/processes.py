"""Several processes that train one model, as ``accelerate launch`` starts them: each computes, one writes."""

from __future__ import annotations

from accelerate import PartialState


def n_processes() -> int:
    """Count the processes."""
    return PartialState().num_processes


def is_main() -> bool:
    """Say whether this is the process that writes."""
    return PartialState().is_main_process


def wait() -> None:
    """Wait until all processes are here."""
    PartialState().wait_for_everyone()


def share_of(n_rows: int, what: str) -> int:
    """Divide the rows of a step among the processes."""
    if n_rows % n_processes():
        raise ValueError(f"{what} cannot be shared evenly among {n_processes()} processes: change their number.")
    return n_rows // n_processes()
