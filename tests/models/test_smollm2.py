"""The pair from a real language model, on a cut-down one: the file is read right, the target is what its card says."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers
from torch import Tensor
from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM, MixtralForCausalLM

from models import measure
from systems.files.chat import ChatTemplate

gguf = pytest.importorskip("gguf", reason="pip install 'spmoe-bench[llama-cpp]'")

from models.smollm2 import source  # noqa: E402
from models.smollm2.__main__ import build, statistics, texts  # noqa: E402
from models.smollm2.card import card  # noqa: E402
from models.smollm2.upcycle import (  # noqa: E402
    Recipe,
    activations,
    feed_forward_inputs,
    routers,
    upcycled,
    used_most,
)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
TOKENS = [*SPECIAL, *LETTERS, "Ġt", "he", "Ġthe"]
MERGES = ["Ġ t", "h e", "Ġt he"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HIDDEN, NEURONS, LAYERS = 64, 96, 3


@pytest.fixture(scope="module")
def dense() -> MistralForCausalLM:
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(TOKENS), hidden_size=HIDDEN, intermediate_size=NEURONS, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=512, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1e5}, sliding_window=None, tie_word_embeddings=True,
        initializer_range=0.2, eos_token_id=2, pad_token_id=2, bos_token_id=None,
    )  # fmt: skip
    return MistralForCausalLM(config).eval()


@pytest.fixture(scope="module")
def file(dense: MistralForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as the package's file has it: Q4_1 but for norms and embeddings, tokenizer of the kind `smollm`."""
    from systems.peers.gguf_file import _add_facts, _entries, _in_place

    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    state = {name: tensor for name, tensor in dense.state_dict().items() if name != "lm_head.weight"}
    writer = gguf.GGUFWriter(path, "llama")
    _add_facts(writer, dense.config)
    for key, value in {"model": "gpt2", "pre": "smollm"}.items():
        writer.kv_data[0].pop(f"tokenizer.ggml.{key}", None)
        writer.add_string(f"tokenizer.ggml.{key}", value)
    for key in ("tokens", "token_type"):
        writer.kv_data[0].pop(f"tokenizer.ggml.{key}")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in TOKENS])
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for entry in _entries(dense.config, {name: tuple(tensor.shape) for name, tensor in state.items()}):
        array = _in_place(entry, [state[name] for name in entry.sources]).contiguous().numpy()
        kind = gguf.GGMLQuantizationType.Q4_1 if ".ffn_" in entry.name and array.ndim == 2 else None
        writer.add_tensor(entry.name, gguf.quants.quantize(array, kind) if kind else array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_block_of_four_bits_is_dequantised_as_its_format_says() -> None:
    """Hand-worked: scale 0.5, least -1, levels 0 to 15 twice; low halves of the bytes come first."""
    levels = np.array([i % 16 for i in range(16)], np.uint8)
    block = np.concatenate([np.array([0.5, -1.0], np.float16).view(np.uint8), levels | (levels << 4)])
    values = gguf.quants.dequantize(block[None], gguf.GGMLQuantizationType.Q4_1)[0]
    assert values.tolist() == [0.5 * (i % 16) - 1 for i in range(32)]


def test_the_model_is_the_one_in_the_file(dense: MistralForCausalLM, file: Path) -> None:
    model, _ = source.read(file)
    for (name, ours), theirs in zip(dense.state_dict().items(), model.state_dict().values(), strict=True):
        if ".mlp." not in name:
            assert torch.equal(ours, theirs), name
            continue
        step = (ours.amax() - ours.amin()) / 15  # a level of a block is at most that of all
        assert 0 < (ours - theirs).abs().max() < step, f"{name}: rounded to 4 bits, no more"
    assert model.config.rope_parameters["rope_theta"] == pytest.approx(1e5)
    assert model.generation_config.eos_token_id == 2


def test_the_tokenizer_merges_in_order_keeps_digits_apart_and_knows_its_special_tokens(file: Path) -> None:
    _, tokenizer = source.read(file)
    text = " the 123<|im_end|>"
    pieces = tokenizer.convert_ids_to_tokens(tokenizer.encode(text))
    assert pieces == ["Ġthe", "Ġ", "1", "2", "3", "<|im_end|>"]
    assert tokenizer.decode(tokenizer.encode("ünïcode\n\tx = 1")) == "ünïcode\n\tx = 1"
    assert tokenizer.eos_token_id == 2


def test_the_tokenizer_has_the_chat_template_of_the_file(file: Path, tmp_path: Path) -> None:
    _, tokenizer = source.read(file)
    tokenizer.save_pretrained(tmp_path)
    written = AutoTokenizer.from_pretrained(tmp_path)
    assert written.chat_template == TEMPLATE
    template = ChatTemplate.of(written)
    assert template is not None
    worded = template.render("the 1")
    assert worded == "<|im_start|>user\nthe 1<|im_end|>\n<|im_start|>assistant\n"
    pieces = written.convert_ids_to_tokens(written.encode(worded))
    asked = ["<|im_start|>", *"user", "Ċ", "t", "he", "Ġ", "1", "<|im_end|>", "Ċ"]
    assert pieces == [*asked, "<|im_start|>", *"assistant", "Ċ"]


def test_a_file_without_a_chat_template_makes_a_tokenizer_without_one(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = gguf.GGUFReader.get_field
    hidden = gguf.Keys.Tokenizer.CHAT_TEMPLATE
    monkeypatch.setattr(gguf.GGUFReader, "get_field", lambda reader, key: None if key == hidden else field(reader, key))
    _, tokenizer = source.read(file)
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template is None


def read(dense: MistralForCausalLM, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(len(TOKENS), (1, 60), generator=generator) for _ in range(6)]


def test_a_target_that_loses_nothing_computes_what_the_dense_model_does(dense: MistralForCausalLM) -> None:
    target = upcycled(dense, read(dense), Recipe(experts=4, kept=1.0))
    tokens = read(dense, seed=1)[0]
    assert torch.allclose(target(tokens).logits, dense(tokens).logits, atol=1e-4)
    less = upcycled(dense, read(dense), Recipe(experts=4, kept=0.5))
    assert not torch.allclose(less(tokens).logits, dense(tokens).logits, atol=1e-2)


def test_experts_serve_their_own_cluster_best(dense: MistralForCausalLM) -> None:
    """An expert's output is nearer to the dense block's on its own tokens than any other expert's is."""
    recipe = Recipe(experts=4, kept=0.4)
    target = upcycled(dense, read(dense), recipe)
    states = feed_forward_inputs(dense, read(dense))
    for index, inputs in enumerate(states):
        block = measure.layers_of(dense)[index].get_submodule("mlp")
        _, clusters = routers(inputs, recipe, torch.Generator().manual_seed(recipe.seed + index))
        experts: Any = measure.layers_of(target)[index].get_submodule("mlp.experts")
        errors = torch.zeros(4, 4)
        for cluster in range(4):
            mine = inputs[clusters == cluster]
            for expert in range(4):
                gate, up = experts.gate_up_proj[expert].chunk(2)
                output = activations(mine, gate, up) @ experts.down_proj[expert].T
                errors[expert, cluster] = (output - block(mine)).norm(dim=-1).mean()
        assert errors.argmin(0).tolist() == [0, 1, 2, 3], "rows are experts"


def test_routers_send_tokens_to_their_cluster_and_use_all_experts(dense: MistralForCausalLM) -> None:
    recipe = Recipe(experts=4, gap=1.5)
    for inputs in feed_forward_inputs(dense, read(dense)):
        router, clusters = routers(inputs, recipe, torch.Generator().manual_seed(0))
        logits = inputs @ router.T
        first, second = logits.topk(2, -1).values.unbind(-1)
        assert float((first - second).mean()) == pytest.approx(1.5, rel=1e-4)
        assert clusters.bincount(minlength=4).min() > 0


def test_used_most_takes_the_neurons_that_add_most_to_a_cluster() -> None:
    """Hand-worked: neuron 2 is seldom used but adds ten times as much where it is."""
    active = torch.tensor([[1.0, 0.0, 0.2, 0.1], [1.0, 0.0, 0.2, 0.1], [0.0, -1.5, 0.0, 0.1]])
    down = torch.tensor([[1.0, 1.0, 10.0, 1.0]])
    kept = used_most(active, down, torch.tensor([0, 0, 1]), 3, 2)
    assert kept.tolist() == [[0, 2], [1, 3], [0, 2]], "the third has no tokens: what matters to all"


def test_a_build_can_be_loaded_measured_and_described(dense: MistralForCausalLM, file: Path, tmp_path: Path) -> None:
    model, tokenizer = source.read(file)
    recipe = Recipe(experts=4, kept=0.9)
    build(model, tokenizer, list(islice(texts(tokenizer), 3)), recipe, tmp_path)
    found = statistics(tmp_path, 1)
    assert 0 <= found["acceptance_1"][0] <= 1 <= found["acceptance_1"][1]
    assert found["prediction_recall"] > found["prediction_recall_shuffled"]
    assert 1 / 4 <= found["largest_share"] <= 1 / 2, "a token's two experts differ"
    json.dumps(found)
    assert found["chat"], "problems are messages, as they are for the harness"
    text = card(recipe, found)
    assert "upcycled from the draft with no training at all" in text
    assert "less the 10%" in text
    assert "for both, with its chat template." in text
    assert "it has no chat template" in card(recipe, found | {"chat": False})
    weights = MixtralForCausalLM.from_pretrained(tmp_path / "target").state_dict()
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}


def test_a_file_that_is_not_the_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF")
    with pytest.raises(RuntimeError, match="remove it and run this again"):
        source.fetch(tmp_path)
