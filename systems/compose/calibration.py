"""Times of layers and transfers on this machine: what analytic policies and emulated links are based on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import cast

import torch

from systems.compose.resident import resident_experts
from systems.contract.costs import Costs, HostCosts
from systems.contract.errors import BadInput
from systems.contract.pair import ModelPair
from systems.runtime.continuation import continued
from systems.runtime.pair import Pair
from systems.runtime.timing import CONTEXT, NEW, Reader, medians
from systems.store.slots import StoreSlots
from systems.store.store import RamStore

_TEXTS = 4
_ROWS = (1, 16, 64)


def measure_costs(
    pair: ModelPair, widths: Sequence[int], prompts: Sequence[Sequence[int]], seconds: float | None = None
) -> Costs:
    """Time one layer of target and draft per width, all experts resident, and the copy of one expert.

    Both models read what the target says behind the prompts, in turn: other tokens need other numbers of experts, each
    model finds the processor's cache as the other leaves it, and a disturbance meets all widths alike.

    Args:
        seconds: for which each time is sampled; None: as long as the device asks for.
    """
    loaded = cast("Pair", pair)
    target, draft = _layer_times(loaded, widths, prompts, seconds)
    if loaded.device == "cpu":
        return Costs(target, draft, medians([lambda: _copy(loaded)], loaded.device, seconds)[0], 0.0)
    from systems.runtime.cuda import with_link

    if not isinstance(loaded.store, RamStore):
        raise BadInput("a CUDA device is fed from host memory; set model.store=ram")
    return with_link(Costs(target, draft, 0.0, 0.0), loaded.store, torch.device(loaded.device))


def host_costs(pair: ModelPair, seconds: float | None = None) -> HostCosts | None:
    """Time what this machine's processor takes for one expert in host memory; None where experts are read from files.

    One row and few take as long as the reading, many as long as the products: a line through both.

    Args:
        seconds: as in `measure_costs`.
    """
    loaded = cast("Pair", pair)
    store = loaded.store
    if not isinstance(store, RamStore):
        return None
    places = StoreSlots(store, 0)
    turns = count()  # another expert each time: the same one would stay in the processor's cache

    @torch.inference_mode()
    def compute(rows: torch.Tensor) -> None:
        expert = next(turns) % store.shape.count
        loaded.arithmetic(rows, places.matrices[expert])

    inputs = [torch.randn(rows, store.shape.hidden, dtype=store.dtype) for rows in _ROWS]
    single, some, many = medians([partial(compute, rows) for rows in inputs], loaded.device, seconds)
    return HostCosts.of(single, max(many - some, 0.0) / (_ROWS[2] - _ROWS[1]))


def layer_time(pair: ModelPair, prompts: Sequence[Sequence[int]], seconds: float | None = None) -> float:
    """Time (s) one target layer at one position as `measure_costs` does: whether the machine is as fast as it was
    then."""
    return _layer_times(cast("Pair", pair), [1], prompts, seconds)[0][1]


def _layer_times(
    pair: Pair, widths: Sequence[int], prompts: Sequence[Sequence[int]], seconds: float | None
) -> tuple[dict[int, float], dict[int, float]]:
    """Median time (s) of a forward by width, per layer, of target and draft; 0 for a draft that does not exist."""
    models = [model for model in (pair.target, pair.draft) if model is not None]
    with resident_experts(pair) as experts:
        texts = continued(pair, experts, [prompt[-CONTEXT:] for prompt in prompts[:_TEXTS]], NEW)
        readers = [Reader(model, texts, max(widths)) for model in models]
        turns = [(reader, width) for width in widths for reader in readers]
        times = medians([partial(reader.read, width) for reader, width in turns], pair.device, seconds)
    target, draft = dict[int, float](), dict[int, float]()
    for (reader, width), time in zip(turns, times, strict=True):
        (target if reader is readers[0] else draft)[width] = time / reader.layers
    return target, draft or {1: 0.0}


def _copy(pair: Pair) -> None:
    pair.store.read([0], [torch.empty(pair.record_bytes, dtype=torch.uint8)])
