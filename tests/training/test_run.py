"""What is done once training is over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sc_c2s.models import nano
from sc_c2s.training.run import _finish


class Shifting:
    """A task that shifts the output vectors, and wants their sum to be near a number."""

    def __init__(self, wanted: float) -> None:
        self.wanted = wanted

    def finish(self, model: Any, tokenizer: Any, rng: np.random.Generator) -> None:
        model.get_output_embeddings().weight.data += 1

    def judge(self, model: Any, tokenizer: Any) -> dict[str, float]:
        return {"loss": abs(float(model.get_output_embeddings().weight.detach().mean()) - self.wanted)}


@pytest.mark.parametrize(("wanted", "moved"), [(1.0, True), (-1.0, False)])
def test_it_stays_where_validation_cells_are_better(wanted, moved) -> None:
    model, tokenizer = nano.build(["GENE1", "GENE2"], writes=True)
    before = model.get_output_embeddings().weight.detach().clone()
    _finish(Shifting(wanted), model, tokenizer, np.random.default_rng(0))
    assert torch.equal(model.get_output_embeddings().weight.detach(), before + 1 if moved else before)
