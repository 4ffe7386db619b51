"""Linear maps that read the same tensor, as one: queries, keys and values; gate and up.

Which those are is observed, not known by name. The first of them computes all, and the others take what is theirs if
they are indeed given that tensor; weights lie one above the other and are no more than before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from systems.operators.layout import laid_out, product
from systems.operators.replacing import Read, Undo, own, replace


def merge_projections(model: Any, read: Read) -> list[Undo]:
    """Merge the maps of a model that one module gives the same tensor, one behind the other."""
    groups = {group for group in _groups(model, read) if len(group) > 1 and _alike(group)}
    times = [linear for group in groups for linear in group]
    once = [group for group in groups if all(times.count(linear) == 1 for linear in group)]
    return [undo for group in once for undo in _merge(group)]


def _groups(model: Any, read: Read) -> list[tuple[Any, ...]]:
    """Return maps that were called one behind the other, by the same module with the same tensor."""
    parents = {child: parent for parent in model.modules() for child in parent.children()}
    calls: list[tuple[Any, Tensor]] = []
    linears = [module for module in parents if type(module) is nn.Linear and own(module)]
    hooks = [linear.register_forward_pre_hook(lambda *call: calls.append((call[0], call[1][0]))) for linear in linears]
    try:
        read(model)
    finally:
        for hook in hooks:
            hook.remove()
    # The tensors are kept until here, so that none is taken for another in whose place it lies.
    return [
        tuple(linear for linear, _ in run) for _, run in groupby(calls, lambda call: (parents[call[0]], id(call[1])))
    ]


def _alike(group: Sequence[Any]) -> bool:
    """Whether maps can be computed as one."""
    kinds = {(linear.weight.dtype, linear.weight.device, linear.bias is None) for linear in group}
    return len(kinds) == 1 and len(set(group)) == len(group)


@torch.no_grad()
def _merge(group: Sequence[Any]) -> list[Undo]:
    """Let the first of the maps compute all."""
    weight = laid_out(torch.cat([linear.weight.data for linear in group]))
    bias = None if group[0].bias is None else torch.cat([linear.bias.data for linear in group])
    sizes = [len(linear.weight) for linear in group]
    for place, linear in enumerate(group):
        rows = slice(sum(sizes[:place]), sum(sizes[: place + 1]))
        linear.weight.data = weight[rows]
        if bias is not None:
            linear.bias.data = bias[rows]
    merged = _Merged(weight, bias, sizes)
    others = [replace(linear, merged.taker(place, linear)) for place, linear in enumerate(group[1:], 1)]
    return [replace(group[0], merged.first), *others]


class _Merged:
    """Several maps as one. Threads may share a model: what was computed last is put down and taken up as a whole."""

    def __init__(self, weight: Tensor, bias: Tensor | None, sizes: list[int]) -> None:
        self._weight, self._bias, self._sizes = weight, bias, sizes
        self._latest: tuple[Tensor, Sequence[Tensor]] | None = None

    def first(self, input: Tensor) -> Tensor:
        """Compute all maps, and return what the first gives."""
        outputs: tuple[Tensor, ...] = product(input, self._weight, self._bias).split(self._sizes, -1)
        self._latest = input, outputs
        return outputs[0]

    def taker(self, place: int, linear: Any) -> Callable[[Tensor], Tensor]:
        """Return the forward of the map with number `place`."""
        last = place == len(self._sizes) - 1

        def take(input: Tensor) -> Tensor:
            latest = self._latest
            if latest is None or latest[0] is not input:
                return functional.linear(input, linear.weight, linear.bias)
            if last:  # nobody else comes for it
                self._latest = None
            return latest[1][place]

        return take
