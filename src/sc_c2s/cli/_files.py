"""Files with cells."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any


def read(file: Path, *, backed: bool = False) -> Any:
    """Read cells; ``backed`` leaves the values on disk."""
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


def write(data: Any, out: Path) -> None:
    """Write cells."""
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
