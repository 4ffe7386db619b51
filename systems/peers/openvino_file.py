"""A Mixtral checkpoint as a model of OpenVINO: written once, then found in the cache.

Its inputs, output and states are those that OpenVINO GenAI drives a language model by. Experts are spelt in the way
that OpenVINO's plugin for processors knows, which computes those that are chosen and no others.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from openvino import opset13 as ops
from safetensors import safe_open

from systems.contract.errors import BadInput, Unsupported
from systems.files.model_files import fingerprint
from systems.files.weight_files import checkpoint_files, read_header

LAYOUT = 1
"""Part of a folder's name: another number when this module writes the same checkpoint otherwise."""
_INPUTS = ("input_ids", "attention_mask", "position_ids")
_LOWEST = float(np.finfo(np.float32).min)


def openvino_of(folder: Path, config: Any, cache_dir: Path) -> Path:
    """Return the folder of a checkpoint's model in float32, written if the cache has none of these weights and config.

    Args:
        config: the model's, as transformers loaded it.
        cache_dir: models go into its folder `openvino`.

    Raises:
        BadInput: the model cannot be written.
        Unsupported: a model that is no Mixtral, or has parts that this module does not write.
    """
    _check(folder, config)
    facts = [LAYOUT, openvino.__version__, fingerprint(folder), config.to_dict()]
    identity = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
    path = cache_dir / "openvino" / identity
    if not path.is_dir():
        try:
            _write(path, folder, config)
        except OSError as error:
            raise BadInput(f"cannot write {path}: {error.strerror}; set model.cache_dir") from error
    return path


def _check(folder: Path, config: Any) -> None:
    """Refuse what would be computed wrongly."""
    wanted = {
        "model_type": config.model_type == "mixtral",
        "hidden_act": config.hidden_act == "silu",
        "rope_parameters": config.rope_parameters.get("rope_type", "default") == "default",
        "sliding_window": getattr(config, "sliding_window", None) is None,
    }
    for name, known in wanted.items():
        if not known:
            raise Unsupported(
                f"{folder} is not written for OpenVINO: its {name} is {getattr(config, name)!r}; models of mixtral with"
                " plain attention are"
            )


def _write(path: Path, folder: Path, config: Any) -> None:
    """Write the model beside its place, and put it there when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        partial.mkdir()
        files = {name: file for file in checkpoint_files(folder) for name in read_header(file)[0]}
        with ExitStack() as stack:
            opened = {file: stack.enter_context(safe_open(file, "pt")) for file in set(files.values())}
            model = _Writer(config, lambda name: opened[files[name]].get_tensor(name)).model("lm_head.weight" in files)
        openvino.save_model(model, partial / "openvino_model.xml", compress_to_fp16=False)
        (partial / "config.json").write_text(json.dumps({"model_type": config.model_type}), encoding="utf-8")
        if not path.is_dir():  # another process may have been faster
            partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _Writer:
    """Spells a model operator by operator.

    A text runs alone and unpadded, so that a token sees every key whose position is not behind its own.

    Args:
        config: the model's.
        read: gives a tensor of the checkpoint by its name.
    """

    def __init__(self, config: Any, read: Callable[[str], torch.Tensor]) -> None:
        self._config, self._read = config, read
        self._head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._sinks: list[Any] = []

    def model(self, has_head: bool) -> openvino.Model:
        """Return the model; `has_head`: logits have weights of their own, else the embedding's."""
        ids, mask, positions = (_input(name, [-1, -1], np.int64) for name in _INPUTS)
        self._beams = _input("beam_idx", [-1], np.int32)
        embedding = self._weight("model.embed_tokens.weight")
        hidden = ops.gather(embedding, ids, _number(0))
        length = ops.gather(ops.shape_of(mask), _number(1), _number(0))
        keys = ops.range(_number(0), length, _number(1), "i64")
        seen = ops.less_equal(keys, ops.unsqueeze(ops.unsqueeze(positions, _number(1)), _number(3)))
        self._mask = ops.select(seen, _real(0.0), _real(_LOWEST))
        self._batch = ops.gather(ops.shape_of(ids), _numbers(0), _number(0))
        self._cos, self._sin = self._angles(positions)
        for layer in range(self._config.num_hidden_layers):
            place = f"model.layers.{layer}."
            hidden = ops.add(hidden, self._attention(layer, self._norm(hidden, place + "input_layernorm.weight")))
            hidden = ops.add(
                hidden, self._experts(layer, self._norm(hidden, place + "post_attention_layernorm.weight"))
            )
        head = self._weight("lm_head.weight") if has_head else embedding
        logits = ops.result(_product(self._norm(hidden, "model.norm.weight"), head))
        logits.output(0).get_tensor().set_names({"logits"})
        return openvino.Model([logits], self._sinks, [ids, mask, positions, self._beams])

    def _weight(self, *names: str) -> Any:
        """A constant of the checkpoint; several names are stacked."""
        parts = [self._read(name).float() for name in names]
        return ops.constant((torch.stack(parts) if len(parts) > 1 else parts[0]).numpy())

    def _norm(self, hidden: Any, name: str) -> Any:
        squares = ops.reduce_mean(ops.power(hidden, _real(2.0)), _numbers(-1), keep_dims=True)
        scale = ops.divide(_real(1.0), ops.sqrt(ops.add(squares, _real(self._config.rms_norm_eps))))
        return ops.multiply(self._weight(name), ops.multiply(hidden, scale))

    def _angles(self, positions: Any) -> tuple[Any, Any]:
        theta, half = self._config.rope_parameters["rope_theta"], torch.arange(0, self._head, 2).float() / self._head
        turns = ops.constant((1.0 / theta**half).view(1, -1, 1).numpy())
        angles = ops.matmul(turns, ops.convert(ops.unsqueeze(positions, _number(1)), "f32"), False, False)
        angles = ops.transpose(angles, _numbers(0, 2, 1))
        both = ops.concat([angles, angles], -1)
        return ops.unsqueeze(ops.cos(both), _number(1)), ops.unsqueeze(ops.sin(both), _number(1))

    def _turned(self, heads: Any) -> Any:
        half, end, axis, step = self._head // 2, 2**63 - 1, _numbers(3), _numbers(1)
        second = ops.multiply(ops.slice(heads, _numbers(half), _numbers(end), step, axis), _real(-1.0))
        first = ops.slice(heads, _numbers(0), _numbers(half), step, axis)
        swapped = ops.concat([second, first], -1)
        return ops.add(ops.multiply(heads, self._cos), ops.multiply(swapped, self._sin))

    def _attention(self, layer: int, hidden: Any) -> Any:
        config, place = self._config, f"model.layers.{layer}.self_attn."
        groups = config.num_attention_heads // config.num_key_value_heads

        def heads(name: str, count: int) -> Any:
            made = _product(hidden, self._weight(f"{place}{name}_proj.weight"))
            return ops.transpose(ops.reshape(made, _numbers(0, 0, count, self._head), True), _numbers(0, 2, 1, 3))

        def shared(made: Any) -> Any:
            wide = ops.broadcast(ops.unsqueeze(made, _number(2)), _numbers(1, 1, groups, 1, 1), None, "bidirectional")
            return ops.reshape(wide, _numbers(0, config.num_attention_heads, -1, self._head), True)

        queries = self._turned(heads("q", config.num_attention_heads))
        keys = self._kept(f"{layer}.key", self._turned(heads("k", config.num_key_value_heads)))
        values = self._kept(f"{layer}.value", heads("v", config.num_key_value_heads))
        scale = _real(self._head**-0.5)
        seen = ops.scaled_dot_product_attention(queries, shared(keys), shared(values), self._mask, scale)
        width = config.num_attention_heads * self._head
        joined = ops.reshape(ops.transpose(seen, _numbers(0, 2, 1, 3)), _numbers(0, 0, width), True)
        return _product(joined, self._weight(place + "o_proj.weight"))

    def _kept(self, name: str, new: Any) -> Any:
        """Put keys or values behind those of the text so far, and keep them."""
        count = self._config.num_key_value_heads
        empty = ops.concat([self._batch, _numbers(count), _numbers(0), _numbers(self._head)], 0)
        start = ops.broadcast(_real(0.0), empty)
        past = ops.read_value(start, name, openvino.Type.f32, openvino.PartialShape([-1, count, -1, self._head]))
        whole = ops.concat([ops.gather(past, self._beams, _number(0)), new], -2)
        self._sinks.append(ops.assign(whole, name))
        return whole

    def _experts(self, layer: int, hidden: Any) -> Any:
        """All experts over copies of all rows, weighted by the router: what the plugin makes of it are those chosen."""
        config, place = self._config, f"model.layers.{layer}.block_sparse_moe."
        count, size = config.num_local_experts, config.hidden_size
        rows = ops.reshape(hidden, _numbers(-1, size), False)
        copies = ops.reshape(ops.tile(rows, _numbers(count, 1)), _numbers(count, -1, size), False)
        gate, down, up = (
            self._weight(*(f"{place}experts.{expert}.w{part}.weight" for expert in range(count))) for part in (1, 2, 3)
        )
        opened = _product(copies, gate)
        inner = ops.multiply(ops.multiply(opened, ops.sigmoid(opened)), _product(copies, up))
        outputs = ops.reshape(_product(inner, down), _numbers(count, 0, size), True)
        chances = ops.softmax(_product(rows, self._weight(place + "gate.weight")), -1)
        best = ops.topk(chances, _number(config.num_experts_per_tok), -1, "max", "value", "i64")
        chosen = ops.convert(best.output(1), "i32")
        share = ops.divide(best.output(0), ops.reduce_sum(best.output(0), _numbers(-1), keep_dims=True))
        ends = ops.shape_of(chosen, "i32")
        share = ops.slice(share, _small(0, 0), ends, _small(1, 1), _small(0, 1))
        row_count = ops.gather(ops.shape_of(chosen), _numbers(0), _number(0))
        none = ops.broadcast(_real(0.0), ops.concat([row_count, _numbers(count)], 0))
        weights = ops.transpose(ops.scatter_elements_update(none, chosen, share, _number(1)), _numbers(1, 0))
        weights = ops.unsqueeze(ops.reshape(weights, _numbers(count, 0), True), _number(2))
        mixed = ops.reduce_sum(ops.multiply(outputs, weights), _numbers(0), keep_dims=False)
        return ops.reshape(mixed, ops.shape_of(hidden), False)


def _input(name: str, shape: list[int], dtype: Any) -> Any:
    made = ops.parameter(shape, dtype, name)
    made.output(0).get_tensor().set_names({name})
    return made


def _product(rows: Any, weight: Any) -> Any:
    return ops.matmul(rows, weight, False, True)


def _number(value: int) -> Any:
    return ops.constant(np.int64(value))


def _numbers(*values: int) -> Any:
    return ops.constant(np.array(values, np.int64))


def _small(*values: int) -> Any:
    return ops.constant(np.array(values, np.int32))


def _real(value: float) -> Any:
    return ops.constant(np.float32(value))
