"""The embedded model: its words, its bytes, its size and its start."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from sc_c2s.models import nano

WORDS = ["<cell>", "</cell>", ":", "CD3D", "Cd3d", "MT-CO1", "HLA-DRA", "B220%20(CD45R)", "β-globin", "cell_type", "A"]

text = st.text(st.characters(codec="utf-8")).map(lambda drawn: " ".join(drawn.split()))
word = text.map(lambda drawn: drawn.replace(" ", "")).filter(bool)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return nano.build_tokenizer(WORDS)


def small(words=WORDS, **options):
    return nano.build(words, **{"width": 16, "n_layers": 1, "n_heads": 2} | options)


def logits(model, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits.numpy()


def unit(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / vectors.square().mean(dim=1, keepdim=True).sqrt()


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def test_a_word_is_one_token(tokenizer) -> None:
    ids = tokenizer(" ".join(WORDS))["input_ids"]
    assert len(ids) == len(set(ids)) == len(WORDS)
    assert tokenizer.convert_ids_to_tokens(ids)[3] == "ĠCD3D"
    assert [tokenizer.decode([i]) for i in ids] == WORDS


def test_where_a_word_stands_does_not_matter(tokenizer) -> None:
    [alone] = tokenizer("CD3D")["input_ids"]
    assert tokenizer(" CD3D", add_special_tokens=False)["input_ids"][-1] == alone
    assert tokenizer("A CD3D A")["input_ids"][1] == alone


def test_names_that_differ_in_case_only_are_two_tokens(tokenizer) -> None:
    upper, lower = tokenizer("CD3D Cd3d")["input_ids"]
    assert upper != lower


def test_an_unknown_word_is_spelled_and_others_stay_whole(tokenizer) -> None:
    ids = tokenizer("CD3D XYZ A")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["ĠCD3D", "Ġ", "X", "Y", "Z", "ĠA"]


@given(text)
def test_any_text_comes_back(tokenizer, words) -> None:
    ids = tokenizer(words)["input_ids"]
    assert all(0 <= i < len(tokenizer) for i in ids)
    assert tokenizer.decode(ids) == words


@given(st.lists(st.one_of(word, st.sampled_from(WORDS)), min_size=1, max_size=8))
def test_known_words_among_any_others(tokenizer, words) -> None:
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(" ".join(words))["input_ids"])
    for known in set(WORDS) & set(words):
        assert tokens.count(nano._spell(known)) == words.count(known)


@given(st.lists(word, min_size=1, max_size=5))
def test_any_word_can_have_a_token(words) -> None:
    tokenizer = nano.build_tokenizer(words)
    ids = tokenizer(" ".join(words))["input_ids"]
    assert len(ids) == len(words)
    assert tokenizer.decode(ids) == " ".join(words)


def test_texts_of_a_batch_are_padded_on_the_left(tokenizer) -> None:
    batch = tokenizer(["CD3D A", "A"], padding=True)
    assert batch["input_ids"][1][0] == tokenizer.pad_token_id
    assert batch["attention_mask"] == [[1, 1], [0, 1]]
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_a_label_that_is_also_a_gene_shares_its_token() -> None:
    model, tokenizer = small(["CD4", "CD8A", "CD4"])
    assert len(tokenizer("CD4 CD8A CD4")["input_ids"]) == 3
    assert list(tokenizer.get_vocab()).count("ĠCD4") == 1
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)


@pytest.mark.parametrize("wrong", ["B cell", "", "a\tb", "trailing "])
def test_a_word_has_no_white_space(wrong) -> None:
    with pytest.raises(ValueError, match="is not one word: quote its white space first"):
        nano.build_tokenizer([wrong])


def test_a_saved_directory_is_an_ordinary_one(tmp_path) -> None:
    model, tokenizer = small()
    nano.add_words(model, tokenizer, ["new"])
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    there = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    reader = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}
    for sentence in ("<cell> CD3D Cd3d </cell> cell_type :", "new words, ünknown", "B220%20(CD45R)"):
        ids = tokenizer(sentence)["input_ids"]
        assert reader(sentence)["input_ids"] == ids
        assert reader.decode(ids) == sentence
        # Weights that are read from a file lie elsewhere in memory, and sums may be taken in another order.
        np.testing.assert_allclose(logits(there, ids), logits(model.eval(), ids), atol=1e-6, rtol=0)
    assert reader.pad_token_id == there.config.pad_token_id == tokenizer.pad_token_id
    assert reader.eos_token_id == there.config.eos_token_id == tokenizer.eos_token_id
    assert reader.padding_side == "left"


def test_reserved_tokens_are_used_up_before_the_vocabulary_grows() -> None:
    model, tokenizer = small()
    n, before = len(tokenizer), {word: tokenizer(word)["input_ids"] for word in WORDS}
    weights = model.get_input_embeddings().weight.detach().clone()
    reserved = {tokenizer.convert_tokens_to_ids(nano._reserved(i)) for i in range(nano.N_RESERVED)}

    first = [f"label{i}" for i in range(nano.N_RESERVED)]
    assert nano.add_words(model, tokenizer, first) == first
    assert len(tokenizer) == n
    assert {i for word in first for i in tokenizer(word)["input_ids"]} == reserved
    torch.testing.assert_close(model.get_input_embeddings().weight, weights, rtol=0, atol=0)
    assert nano.is_nano(tokenizer), "also with no reserved token left"

    assert nano.add_words(model, tokenizer, ["late", "later"]) == ["late", "later"]
    assert tokenizer("late later")["input_ids"] == [n, n + 1]
    assert model.get_input_embeddings().num_embeddings == model.config.vocab_size == n + 2
    torch.testing.assert_close(model.get_input_embeddings().weight[:n], weights, rtol=0, atol=0)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert {word: tokenizer(word)["input_ids"] for word in WORDS} == before


def test_adding_words_again_changes_nothing() -> None:
    model, tokenizer = small()
    assert nano.add_words(model, tokenizer, ["CD3D", "new", "new", "β"]) == ["new", "β"]
    before = tokenizer.backend_tokenizer.to_str()
    assert nano.add_words(model, tokenizer, ["new", "β", *WORDS]) == []
    assert tokenizer.backend_tokenizer.to_str() == before


def test_two_grown_models_are_the_same() -> None:
    grown = []
    for noise in range(2):
        torch.manual_seed(noise)
        model, tokenizer = small()
        nano.add_words(model, tokenizer, [f"w{i}" for i in range(nano.N_RESERVED + 3)])
        grown.append(model.get_input_embeddings().weight)
    torch.testing.assert_close(*grown, rtol=0, atol=0)


def test_embeddings_start_where_asked() -> None:
    rng = np.random.default_rng(0)
    vectors = {"CD3D": 100 * rng.normal(size=8), "Cd3d": 100 * rng.normal(size=8)}
    model, tokenizer = small(embeddings=vectors)
    plain, _ = small()
    ids = tokenizer("CD3D Cd3d")["input_ids"]
    weight, random = (m.get_input_embeddings().weight.detach().numpy() for m in (model, plain))
    wanted = np.stack(list(vectors.values()))
    np.testing.assert_allclose(weight[ids, :8], wanted * model.config.initializer_range / wanted.std(), rtol=1e-5)
    np.testing.assert_array_equal(weight[ids, 8:], random[ids, 8:])
    others = np.setdiff1d(np.arange(len(weight)), ids)
    np.testing.assert_array_equal(weight[others], random[others])


def test_vectors_that_are_too_long_are_cut() -> None:
    model, tokenizer = small(embeddings={"CD3D": np.arange(1.0, 41.0)})
    [i] = tokenizer("CD3D")["input_ids"]
    row = model.get_input_embeddings().weight[i].detach().numpy()
    np.testing.assert_allclose(row / row[0], np.arange(1, 17), rtol=1e-5)


def test_vectors_of_zeros_stay_zero() -> None:
    model, tokenizer = small(embeddings={"CD3D": np.zeros(16)})
    [i] = tokenizer("CD3D")["input_ids"]
    assert not model.get_input_embeddings().weight[i].any()


def test_the_seed_makes_the_weights_and_leaves_torch_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, _ = small(seed=1)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
    again, _ = small(seed=1)
    other, _ = small(seed=2)
    for name, value in first.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    assert not torch.equal(first.get_input_embeddings().weight, other.get_input_embeddings().weight)


def test_size() -> None:
    """A few megabytes for the genes of a whole experiment."""
    model, _ = nano.build([f"GENE{i}" for i in range(2000)])
    assert model.num_parameters() < 1_000_000


def test_which_tokenizers_are_a_nano(tokenizer) -> None:
    assert nano.is_nano(tokenizer)
    assert not nano.is_nano(object())


@pytest.mark.parametrize(("n_layers", "of_second"), [(1, 0.0), (2, 0.3)])
def test_it_starts_by_handing_on_means(n_layers: int, of_second: float) -> None:
    """One layer: the mean of the vectors so far. A second adds a part of the mean of those means."""
    rng = np.random.default_rng(0)
    vectors = {word: rng.normal(size=16) for word in WORDS}
    model, tokenizer = small(embeddings=vectors, n_layers=n_layers)
    ids = tokenizer(" ".join(WORDS))["input_ids"]
    with torch.no_grad():
        state = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
        seen = unit(model.get_input_embeddings().weight[ids])
    means = seen.cumsum(dim=0) / torch.arange(1, len(ids) + 1)[:, None]
    of_means = unit(means).mean(dim=0)
    near = {part: cosine(state, means[-1] + part * of_means) for part in (0.0, 0.1, 0.3, 0.6, 1.0)}
    # Queries and keys start small, not at zero, so that attention is even but for a little.
    assert near[of_second] > 0.99
    assert max(near, key=near.get) == of_second


def test_one_that_writes_sees_its_condition_from_afar() -> None:
    """What the first head hands on is the condition, behind three genes as behind three hundred."""
    genes = [f"GENE{i}" for i in range(300)]
    rng = np.random.default_rng(0)
    vectors = {gene: np.concatenate([np.zeros(32), rng.normal(size=95) * 0.08, [0.5]]) for gene in genes}
    for i, name in enumerate(("=A", "=B")):
        vectors[name] = np.zeros(128)
        vectors[name][[i, nano.IS_CONDITION]] = np.sqrt(0.5)
    model, tokenizer = nano.build(list(vectors), embeddings=vectors, writes=True)
    assert nano.writes(model)
    assert not nano.writes(nano.build(["A"])[0])
    with torch.no_grad():
        states = [
            model.model(input_ids=torch.tensor([tokenizer(f"{name} {' '.join(genes[:n])}")["input_ids"]]))
            .last_hidden_state[0, -1, :2]
            .numpy()
            for name in ("=A", "=B")
            for n in (3, 300)
        ]
    near_a, far_a, near_b, far_b = states
    for near, far, own in ((near_a, far_a, 0), (near_b, far_b, 1)):
        assert near[own] > 10 * abs(near[1 - own])
        assert far[own] > 0.8 * near[own]
