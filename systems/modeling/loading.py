"""Loading models by transformers, a target's experts being handed to a store instead of the model.

transformers reads, renames, converts and dequantises whatever it knows to load, and sets a parameter when it has made
it; what it would set in an experts module goes to the store, one parameter at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from systems.contract.config import ModelConfig
from systems.contract.errors import BadInput
from systems.files.model_files import overrides
from systems.files.weight_files import checkpoint_files
from systems.modeling.checkpoint_index import index_experts
from systems.modeling.offloaded import OffloadedExperts
from systems.modeling.skeleton import Skeleton, experts_left_out, skeleton
from systems.operators.layout import by_inputs
from systems.store.pack import Pack
from systems.store.store import CheckpointStore, ExpertStore, RamStore

_ONE_BY_ONE = "HF_DEACTIVATE_ASYNC_LOAD"
"""transformers' switch: no reading ahead, in which all experts would be in memory beside the store."""


class Taker(Protocol):
    """Takes experts as they are loaded."""

    def put(self, layer: int, part: int, weights: torch.Tensor) -> None:
        """Take a part of all experts of the MoE layer with ordinal `layer`."""


def load_target(path: Path, config: ModelConfig, dtype: torch.dtype, cache_dir: Path) -> tuple[Any, ExpertStore]:
    """Load a target without experts, and open the store that holds them in `dtype`.

    Raises:
        BadInput: what transformers cannot load, weights that are missing, experts that the runtime does not know, or
            that `model.store` cannot serve.
    """
    from transformers import AutoConfig

    with explained(path):
        own = AutoConfig.from_pretrained(path, local_files_only=True)
        bones = skeleton(own, path)
    changes = overrides(config, bones.shape.experts, own)
    if config.store == "checkpoint":
        store = _as_stored(path, bones, dtype)
        return _load(path, dtype, config.device, changes, own, None), store
    if config.store == "ram":
        inputs = config.operators != "stock" and by_inputs(dtype, config.device) and not bones.shape.transposed
        slab = RamStore(replace(bones.shape, by_inputs=inputs), dtype)
        return _load(path, dtype, config.device, changes, own, slab), slab
    if config.store == "pack":
        pack = Pack(bones.shape, dtype, checkpoint_files(path), cache_dir)
        if pack.usable():
            return _load(path, dtype, config.device, changes, own, None), pack.open()
        with pack.building():
            model = _load(path, dtype, config.device, changes, own, pack)
        return model, pack.open()
    raise BadInput(f"model.store={config.store!r} is unknown; choose ram, pack or checkpoint")


def load_model(path: Path, dtype: torch.dtype, device: str, changes: dict[str, Any] | None = None) -> Any:
    """Load a causal language model of transformers for inference; `changes` replace values of its config.

    Raises:
        BadInput: what transformers cannot load, or weights that are missing.
    """
    return _from_files(path, dtype, changes or {}).to(device).eval()


def _as_stored(path: Path, bones: Skeleton, dtype: torch.dtype) -> CheckpointStore:
    index = index_experts(path, bones)
    if dtype != index.dtype:
        raise BadInput(
            f"model.store=checkpoint serves experts as stored ({index.dtype}), not as {dtype}; "
            "set model.dtype accordingly or use model.store=pack"
        )
    return CheckpointStore(index)


@dataclass(slots=True)
class _Births:
    """Sees a model's experts being constructed, and has their weights given to a taker, or not loaded at all."""

    taker: Taker | None
    experts: list[OffloadedExperts] = field(default_factory=list)
    taken: set[tuple[int, int]] = field(default_factory=set)

    def born(self, experts: OffloadedExperts) -> None:
        """Arrange for the next layer's experts."""
        if self.taker is None:
            experts.drop()
        else:
            experts.wait(len(self.experts), partial(self.put, self.taker))
        self.experts.append(experts)

    def put(self, taker: Taker, layer: int, part: int, weights: torch.Tensor) -> None:
        """Pass a part on."""
        self.taken.add((layer, part))
        taker.put(layer, part, weights)

    def check(self, path: Path) -> None:
        """Refuse a checkpoint that lacks experts, and forget their places in the model."""
        for layer, experts in enumerate(self.experts):
            for number, part in enumerate(experts.parts):
                if self.taker is not None and (layer, number) not in self.taken:
                    raise BadInput(f"{path}: the checkpoint lacks {part.name} of the experts of MoE layer {layer}")
            experts.drop()
        # The class of the experts remembers who saw them born: their store must not live as long as the model.
        self.taker, self.experts = None, []


def _load(path: Path, dtype: torch.dtype, device: str, changes: dict[str, Any], own: Any, taker: Taker | None) -> Any:
    births = _Births(taker)
    with experts_left_out(own, births.born), _one_by_one():
        model = _from_files(path, dtype, changes)
    births.check(path)
    return model.to(device).eval()


def _from_files(path: Path, dtype: torch.dtype, changes: dict[str, Any]) -> Any:
    from transformers import AutoModelForCausalLM

    with _quietly(), explained(path):
        model, info = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, local_files_only=True, output_loading_info=True, **changes
        )
    if missing := sorted(info["missing_keys"]):
        raise BadInput(f"{path}: the checkpoint lacks {', '.join(missing[:3])}{' and more' if missing[3:] else ''}")
    return model


@contextmanager
def _one_by_one() -> Iterator[None]:
    before = os.environ.get(_ONE_BY_ONE)
    os.environ[_ONE_BY_ONE] = "1"
    try:
        yield
    finally:
        os.environ.pop(_ONE_BY_ONE)
        if before is not None:
            os.environ[_ONE_BY_ONE] = before


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers from reporting each expert tensor as unexpected, and from drawing progress bars."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Name the folder where transformers only says what is wrong in it."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, StrictDataclassError) as error:
        raise BadInput(f"transformers cannot load the model in {path}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return next(iter(str(error).splitlines()), type(error).__name__)
