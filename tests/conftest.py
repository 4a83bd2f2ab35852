from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

# Before anything loads OpenMP: waiting threads of numba and torch slow each other down many times.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from mudata import MuData
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

matplotlib.use("agg")

N_CELLS = 60
N_GENES = 40
CELL_TYPES = ("B cell", "CD14+ monocyte", "T cell, CD4/CD8")
"""Label names with what breaks parsers and files: spaces, a comma, a slash, a plus."""


class AnyData(NamedTuple):
    """The same cells in one of the two containers, and the arguments that find them there."""

    data: AnnData | MuData
    where: dict[str, str]

    @property
    def adata(self) -> AnnData:
        """The modality itself."""
        return self.data[self.where["mod"]] if self.where else self.data


def make_adata(n_cells: int = N_CELLS, n_genes: int = N_GENES, *, seed: int = 0) -> AnnData:
    """Counts in which every cell type has four genes of its own."""
    rng = np.random.default_rng(seed)
    types = np.arange(n_cells) % len(CELL_TYPES)
    rates = np.full((n_cells, n_genes), 0.6)
    for kind in range(len(CELL_TYPES)):
        rates[np.ix_(types == kind, np.arange(4 * kind, 4 * kind + 4))] = 8.0
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical.from_codes(types, categories=list(CELL_TYPES)),
            "donor": pd.Categorical([f"donor{i}" for i in rng.integers(4, size=n_cells)]),
        },
        index=[f"cell{i:03d}" for i in range(n_cells)],
    )
    var = pd.DataFrame(
        {"ensembl": [f"ENSG{i:011d}" for i in range(n_genes)]}, index=[f"GENE{i}" for i in range(n_genes)]
    )
    return AnnData(sparse.csr_matrix(rng.poisson(rates).astype(np.float32)), obs=obs, var=var)


def make_treated(n_cells: int = 240, n_genes: int = N_GENES, *, seed: int = 0) -> AnnData:
    """Counts in which IFN raises four genes everywhere and halves the first marker of every type, and IL-6 raises two others."""
    rng = np.random.default_rng(seed)
    types, treatment = np.arange(n_cells) % 3, (np.arange(n_cells) // 3) % 3
    rates = np.full((n_cells, n_genes), 0.6)
    for kind in range(3):
        rates[np.ix_(types == kind, np.arange(4 * kind, 4 * kind + 4))] = 8.0
        rates[(types == kind) & (treatment == 1), 4 * kind] *= 0.3
    rates[np.ix_(treatment == 1, np.arange(20, 24))] += 6
    rates[np.ix_(treatment == 2, np.arange(30, 32))] += 6
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical.from_codes(types, categories=list(CELL_TYPES)),
            "treatment": pd.Categorical.from_codes(treatment, categories=["none", "IFN", "IL-6"]),
        },
        index=[f"cell{i:03d}" for i in range(n_cells)],
    )
    var = pd.DataFrame(index=[f"GENE{i}" for i in range(n_genes)])
    return AnnData(sparse.csr_matrix(rng.poisson(rates).astype(np.float32)), obs=obs, var=var)


def make_mdata(adata: AnnData) -> MuData:
    """The cells as modality ``rna``, beside proteins that were measured on one cell less and one cell more."""
    from mudata import MuData

    names = [*adata.obs_names[1:], "protein_only"]
    counts = np.random.default_rng(1).poisson(5.0, size=(len(names), 3)).astype(np.float32)
    var = pd.DataFrame(index=["CD3", "CD19", "B220 (CD45R)"])
    return MuData({"rna": adata, "prot": AnnData(counts, obs=pd.DataFrame(index=names), var=var)})


@pytest.fixture(scope="session")
def make_cells() -> Callable[..., AnnData]:
    """For fixtures that live longer than one test."""
    return make_adata


@pytest.fixture(scope="session")
def make_treated_cells() -> Callable[..., AnnData]:
    return make_treated


@pytest.fixture(scope="session")
def make_muon() -> Callable[[AnnData], MuData]:
    return make_mdata


@pytest.fixture(params=["AnnData", "MuData"])
def any_treated(request: pytest.FixtureRequest) -> AnyData:
    if request.param == "AnnData":
        return AnyData(make_treated(), {})
    return AnyData(make_mdata(make_treated()), {"mod": "rna"})


@pytest.fixture
def adata() -> AnnData:
    return make_adata()


@pytest.fixture
def mdata(adata: AnnData) -> MuData:
    return make_mdata(adata)


@pytest.fixture(params=["AnnData", "MuData"])
def any_data(request: pytest.FixtureRequest, adata: AnnData) -> AnyData:
    if request.param == "AnnData":
        return AnyData(adata, {})
    return AnyData(make_mdata(adata), {"mod": "rna"})


@pytest.fixture
def with_generated(any_data: AnyData) -> AnyData:
    """Beside every cell but two, one drawn in the same way; of all genes but four, and of one that is not at hand."""
    adata = any_data.adata
    counts = make_adata(seed=1).X.toarray()
    made = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    made[[5, 17]] = 0
    names = [*adata.var_names[:-5:-1], *adata.var_names[:-8], "ELSEWHERE"]
    columns = adata.var_names.get_indexer(names)
    sentences = np.array([f"{names[i % 8]} {names[8]}" for i in range(adata.n_obs)], dtype=object)
    sentences[[5, 17]] = np.nan
    adata.obsm["c2s_generated"] = sparse.csr_matrix(made[:, columns], dtype=np.float32)
    adata.obs["c2s_generated_sentence"] = sentences
    adata.uns["c2s_generated"] = {
        "var_names": np.array(names, dtype=object),
        "space": "log1p CP10k",
        "params": {"groupby": ["cell_type"], "temperature": 1.0},
        "n_failed": 2,
    }
    return any_data


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real data sets, which are not part of the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SC_C2S_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no real data here: set SC_C2S_DATA to a folder that holds it")
    return folder


@pytest.fixture(scope="session")
def train_pieces() -> Callable[[list[str]], Tokenizer]:
    """Sub-words, as those of pretrained models: a gene and a label have several tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    def train(special_tokens: list[str]) -> Tokenizer:
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=special_tokens,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        genes = " ".join(f"GENE{i}" for i in range(N_GENES))
        core.train_from_iterator([genes, "The cell type of this cell is:"] * 3, trainer)
        return core

    return train


@pytest.fixture(scope="session")
def piece_tokenizer(train_pieces: Callable[[list[str]], Tokenizer]) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    core = train_pieces(["<pad>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>")


@pytest.fixture(scope="session")
def make_llama() -> Callable[..., LlamaForCausalLM]:
    """A tiny model with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(n_tokens: int, *, tied: bool = False, seed: int = 0) -> LlamaForCausalLM:
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=n_tokens,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
            tie_word_embeddings=tied,
        )
        return LlamaForCausalLM(config).eval()

    return make


@pytest.fixture
def pretrained(tmp_path: Path, make_llama: Callable[..., LlamaForCausalLM], piece_tokenizer: Any) -> Path:
    """Directory of a pretrained model, by the looks of it."""
    make_llama(len(piece_tokenizer)).save_pretrained(tmp_path / "base")
    piece_tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"
