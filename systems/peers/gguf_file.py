"""A checkpoint of the Llama family as GGUF, the file that llama.cpp reads: written once, then found in the cache.

Its vocabulary only names the tokens: ids go in and out, and nobody tokenizes there. Every token is spelt as its id and
a space, so that a text is its tokens whatever the tokenizer; none ends a text, which is for the meter to say.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors import safe_open

from systems.contract.errors import BadInput, Unsupported
from systems.files.model_files import fingerprint
from systems.files.weight_files import checkpoint_files, read_header

LAYOUT = 1
"""Part of a file's name: another number when this module writes the same checkpoint otherwise."""
TYPES = {
    "float32": gguf.GGMLQuantizationType.F32,
    "float16": gguf.GGMLQuantizationType.F16,
    "bfloat16": gguf.GGMLQuantizationType.BF16,
}
_FAMILIES = ("mixtral", "mistral", "llama")
_EXPERT = re.compile(r"model\.layers\.(\d+)\.block_sparse_moe\.experts\.\d+\.(w\d)\.weight")
_ROTATED = re.compile(r"self_attn\.(q|k)_proj\.weight$")


@dataclass(frozen=True)
class _Entry:
    """A tensor of the file: the checkpoint's `sources`, stacked if there are several, and the heads whose rows change
    places (0: none)."""

    name: str
    sources: tuple[str, ...]
    shape: tuple[int, ...]
    heads: int

    def kept_in(self, dtype: str) -> str:
        """Norms and routers stay float32, as llama.cpp computes them."""
        return "float32" if len(self.shape) == 1 or "ffn_gate_inp" in self.name else dtype


def gguf_of(folder: Path, config: Any, dtype: str, cache_dir: Path) -> Path:
    """Return the GGUF of a checkpoint, written if the cache has none of these weights, this config and dtype.

    Args:
        config: the model's, as transformers loaded it.
        cache_dir: files go into its folder `gguf`.

    Raises:
        BadInput: the file cannot be written.
        Unsupported: a model that is not of the Llama family, or has parts that this module does not write.
    """
    _check(folder, config)
    path = cache_dir / "gguf" / f"{_identity(folder, config, dtype)}.gguf"
    if not path.is_file():
        try:
            _replace(path, lambda partial: _write(partial, folder, config, dtype))
        except OSError as error:
            raise BadInput(f"cannot write {path}: {error.strerror}; set model.cache_dir") from error
    return path


def token_text(token: int) -> str:
    """How the file spells a token."""
    return f"{token} "


def _check(folder: Path, config: Any) -> None:
    """Refuse what the file could not say, or would say wrongly."""
    rope = config.rope_parameters
    wanted = {
        "model_type": config.model_type in _FAMILIES,
        "hidden_act": config.hidden_act == "silu",
        "rope_parameters": rope.get("rope_type", "default") == "default",
        "sliding_window": getattr(config, "sliding_window", None) is None,
        "attention_bias": not getattr(config, "attention_bias", False),
        "mlp_bias": not getattr(config, "mlp_bias", False),
    }
    for name, known in wanted.items():
        if not known:
            value = getattr(config, name)
            raise Unsupported(
                f"{folder} is not written as GGUF: its {name} is {value!r}; models of {', '.join(_FAMILIES)} with"
                " plain attention are"
            )


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Let a file be written beside its place, and put it there when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        write(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _identity(folder: Path, config: Any, dtype: str) -> str:
    facts = [LAYOUT, gguf.GGUF_VERSION, dtype, fingerprint(folder), config.to_dict()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _write(path: Path, folder: Path, config: Any, dtype: str) -> None:
    """Write the header, then one tensor after the other, so that no more than one is in memory."""
    files = {name: file for file in checkpoint_files(folder) for name in read_header(file)[0]}
    with ExitStack() as stack:
        opened = {file: stack.enter_context(safe_open(file, "pt")) for file in set(files.values())}
        entries = list(
            _entries(config, {name: tuple(opened[files[name]].get_slice(name).get_shape()) for name in files})
        )
        writer = gguf.GGUFWriter(path, "llama")
        stack.callback(writer.close)
        _add_facts(writer, config)
        for entry in entries:
            kept = entry.kept_in(dtype)
            width = getattr(torch, kept).itemsize
            in_bytes = (*entry.shape[:-1], entry.shape[-1] * width)
            writer.add_tensor_info(entry.name, in_bytes, np.dtype(np.uint8), math.prod(in_bytes), TYPES[kept])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for entry in entries:
            parts = [opened[files[source]].get_tensor(source) for source in entry.sources]
            tensor = _in_place(entry, parts).to(getattr(torch, entry.kept_in(dtype)))
            writer.write_tensor_data(tensor.contiguous().view(torch.uint8).numpy())


def _add_facts(writer: gguf.GGUFWriter, config: Any) -> None:
    """Everything of the header but the tensors."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if config.model_type == "mixtral":
        writer.add_expert_count(config.num_local_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_tokenizer_model("rwkv")  # the only kind without an end of text that cannot be switched off
    writer.add_token_list([token_text(token) for token in range(config.vocab_size)])
    writer.add_token_types([gguf.TokenType.NORMAL] * config.vocab_size)


def _entries(config: Any, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[_Entry]:
    """Yield the tensors of the file; experts of a layer are one each of gate, up and down.

    Raises:
        Unsupported: a tensor that llama.cpp's Llama does not have.
    """
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    experts: dict[str, list[str]] = {}
    for source in sorted(shapes, key=_by_number):
        if found := _EXPERT.fullmatch(source):
            experts.setdefault(f"layers.{found[1]}.feed_forward.experts.{found[2]}.weight", []).append(source)
            continue
        heads = {"q": config.num_attention_heads, "k": config.num_key_value_heads}
        rotated = _ROTATED.search(source)
        name = names.get_name(source, try_suffixes=(".weight",))
        if name is None:
            raise Unsupported(f"tensor {source} has no place in a GGUF of the Llama family")
        yield _Entry(name, (source,), shapes[source], heads[rotated[1]] if rotated else 0)
    for merged, sources in experts.items():
        name = names.get_name(merged, try_suffixes=(".weight",))
        yield _Entry(name, tuple(sources), (len(sources), *shapes[sources[0]]), 0)


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sort key of names whose numbers count: expert 10 comes behind expert 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def _in_place(entry: _Entry, parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack the sources of an entry, and put the rows of rotated heads in llama.cpp's order: the two halves of a
    head, which transformers rotates against each other, as neighbours."""
    tensor = torch.stack(list(parts)) if len(entry.shape) == 3 else parts[0]
    if entry.heads:
        tensor = tensor.unflatten(0, (entry.heads, 2, -1)).transpose(1, 2).flatten(0, 2)
    return tensor
