"""Two processes that train one model, and one that does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from sc_c2s.models import directory
from sc_c2s.training.processes import share_of

RUN = """
import sys
from functools import partial
import torch
from anndata import read_h5ad
from sc_c2s.models import nano
from sc_c2s.tl import finetune
torch.set_num_threads(1)
nano.build = partial(nano.build, width=32, n_layers=1, n_heads=2)
adata, out = read_h5ad(sys.argv[1]), sys.argv[2]
how = {"groupby": "cell_type", "device": "cpu", "dtype": "float32", "rng": 3}
finetune(adata, output_dir=f"{out}/sft", n_epochs=4, batch_size=16, learning_rate=1e-3, patience=100, **how)
finetune(adata, output_dir=f"{out}/grpo", model=f"{out}/sft", method="grpo", split_key="c2s_split", n_steps=6, batch_size=8,
         n_generations=4, **how)
"""
LAUNCH = ("-m", "accelerate.commands.launch", "--cpu", "--num_machines", "1", "--mixed_precision", "no")


def run(script: Path, *arguments: Path, n_processes: int) -> None:
    launch: tuple[str, ...] = ()
    if n_processes > 1:
        launch = (*LAUNCH, "--num_processes", str(n_processes), "--main_process_port", "0")
    call = [sys.executable, *launch, str(script), *map(str, arguments)]
    done = subprocess.run(call, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_train_as_one_does(adata, tmp_path) -> None:
    adata.write_h5ad(tmp_path / "cells.h5ad")
    script = tmp_path / "run.py"
    script.write_text(RUN)
    for n in (1, 2):
        run(script, tmp_path / "cells.h5ad", tmp_path / str(n), n_processes=n)
    for method in ("sft", "grpo"):
        one, two = (tmp_path / str(n) / method for n in (1, 2))
        check_same(one, two, method)


def check_same(one: Path, two: Path, method: str) -> None:
    first, second = (load_file(path / "model.safetensors") for path in (one, two))
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, rtol=1e-3, atol=1e-5, err_msg=f"{method} {name}")
    histories: list[Any] = [directory.read_history(path).drop(columns="seconds") for path in (one, two)]
    # What TRL logs of lengths and tokens it counts alike; losses of training are those of one process.
    columns = [name for name in histories[0] if name != "train_loss"]
    pd.testing.assert_frame_equal(*(history[columns] for history in histories), rtol=1e-3, atol=1e-4)
    for which, scores in directory.read(one).metrics.items():
        assert directory.read(two).metrics[which] == pytest.approx(scores, rel=1e-3, abs=1e-3)


def test_what_cannot_be_shared_is_refused(monkeypatch) -> None:
    monkeypatch.setattr("sc_c2s.training.processes.n_processes", lambda: 2)
    assert share_of(8, "batch_size=8") == 4
    with pytest.raises(ValueError, match="batch_size=7 cannot be shared evenly among 2 processes"):
        share_of(7, "batch_size=7")
