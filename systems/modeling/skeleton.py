"""What a checkpoint's model is before any weight is read: its experts, and the names under which they are loaded.

Nothing here names a family. Experts are classes of the model's module that transformers' interface for experts knows,
or that have an adapter; while a model is constructed, they are replaced by themselves with `OffloadedExperts` mixed in.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from systems.contract.errors import BadInput
from systems.modeling.adapters import ADAPTERS
from systems.modeling.experts import ExpertPort
from systems.modeling.offloaded import OffloadedExperts
from systems.store.checkpoint import ExpertShape

_swap = threading.Lock()
_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
"""What families call the number of experts in their configs."""


@dataclass(frozen=True)
class Skeleton:
    """A model without weights.

    Attributes:
        model: on torch's `meta` device.
        shape: its experts.
        names: by name of a parameter the ordinal of the layer and the number of the part whose weights it holds.
    """

    model: Any
    shape: ExpertShape
    names: dict[str, tuple[int, int]]


def skeleton(config: Any, folder: Path) -> Skeleton:
    """Construct a model on torch's `meta` device, and find its experts.

    Raises:
        BadInput: there are none, or such as the runtime does not know.
    """
    from transformers import AutoModelForCausalLM

    found: list[OffloadedExperts] = []
    with experts_left_out(config, found.append), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    if not found:
        raise BadInput(f"{folder} holds no routed experts; `model.target` must be a Mixture-of-Experts checkpoint")
    paths = {module: name for name, module in model.named_modules()}
    names = {
        f"{paths[part.owner]}.{part.name}": (layer, number)
        for layer, experts in enumerate(found)
        for number, part in enumerate(experts.parts)
    }
    return Skeleton(model, _shape(folder, found, [paths[experts] for experts in found]), names)


def _shape(folder: Path, found: list[Any], paths: list[str]) -> ExpertShape:
    """Return the shape that all layers' experts have in common."""
    first = found[0]
    parts = tuple((part.name, part.size) for part in first.parts)
    for experts, path in zip(found, paths, strict=True):
        if experts.count != first.count or [part.size for part in experts.parts] != [size for _, size in parts]:
            raise BadInput(f"{folder}: the experts of {path} are not of the shape or number of those of {paths[0]}")
    layers = tuple(int(numbers[0]) for path in paths if (numbers := re.findall(r"(?<=\.)\d+(?=\.|$)", path)))
    matrix = next(size for _, size in reversed(parts) if len(size) == 2)
    down = matrix if first.transposed else matrix[::-1]
    return ExpertShape(layers, first.count, down[1], down[0], parts, first.transposed)


@contextmanager
def experts_left_out(config: Any, born: Callable[[OffloadedExperts], None]) -> Iterator[None]:
    """While active, models of the family of `config` are built with experts that `OffloadedExperts` is mixed into.

    transformers has a registry of experts' forwards, but experts would still be allocated and loaded, and it does not
    serve classes outside of its interface. The substitution is process-wide, so a lock is held: load the target
    inside and everything else outside.

    Args:
        born: told of the experts of each layer, in order, when they are constructed.

    Raises:
        BadInput: a family that no causal language model has, or whose experts are not known.
    """
    module = _module(config)
    names = [name for name, item in vars(module).items() if isinstance(item, type) and _are_experts(name, item, module)]
    if not names and _count(config):
        raise BadInput(
            f"{config.model_type} has experts that are computed in a way that the runtime does not know "
            "(outside of transformers' interface for experts); choose another `model.target`"
        )
    with _swap:
        saved = {name: getattr(module, name) for name in names}
        try:
            for name, own in saved.items():
                mixed = ADAPTERS.get(name, OffloadedExperts)
                setattr(module, name, type(name, (mixed, own), {"born": staticmethod(born)}))
            yield
        finally:
            for name, own in saved.items():
                setattr(module, name, own)


def _module(config: Any) -> Any:
    """Return the module that defines the causal language model of a config."""
    from transformers import AutoModelForCausalLM

    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise BadInput(f"{config.model_type} is no causal language model of this version of transformers")
    return importlib.import_module(AutoModelForCausalLM._model_mapping[type(config)].__module__)


def _are_experts(name: str, item: type, module: Any) -> bool:
    return item.__module__ == module.__name__ and (hasattr(item, "_apply_gate") or name in ADAPTERS)


def _count(config: Any) -> int:
    """Return how many experts a config speaks of."""
    text = config.get_text_config()
    return max((getattr(text, name, None) or 0 for name in _COUNTS), default=0)


def bind_experts(model: Any, port: ExpertPort) -> None:
    """Attach all experts of a model to a port, in order of layers."""
    for layer, experts in enumerate(module for module in model.modules() if isinstance(module, OffloadedExperts)):
        experts.bind(port, layer)
