"""Attention that copies nothing: no mask where nothing is hidden, and no key or value for each query that shares it.

It takes the place of transformers' kernel `sdpa` for the modules of one model, and leaves to that whatever it is not
made for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional

from systems.operators.replacing import Read, Undo, meaning, with_other

_STOCK = "sdpa"
"""What transformers calls its kernel."""
_REGISTRY = "ALL_ATTENTION_FUNCTIONS"
"""What attention modules call transformers' registry of kernels."""
_SEEN = "_reads_everything"
_OTHERS = frozenset({"softcap", "s_aux", "cache", "position_bias"})
"""What attention may be given besides that changes its result."""


def everything(value: Tensor, rows: int, keys: int) -> Tensor:
    """Return a mask `(rows, 1, 1, keys)` of one value, and say of it that it hides nothing: whatever a family makes of
    it is another tensor, of which that is not said."""
    mask = value.expand(rows, 1, 1, keys)
    setattr(mask, _SEEN, True)
    return mask


def attend_without_copies(model: Any, read: Read) -> list[Undo]:
    """Let a model's modules attend by this where they would by `sdpa`."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    undos = []
    for module in model.modules():
        registry = meaning(module, _REGISTRY)
        if registry is not None and registry.get(_STOCK) is sdpa_attention_forward:
            undos.append(with_other(module, _REGISTRY, _Kernels(registry, partial(attend, sdpa_attention_forward))))
    return undos


@dataclass(frozen=True, slots=True)
class _Kernels:
    """transformers' registry of attention kernels, with another in the place of one of them; its name stays, since
    families ask for it."""

    registry: Any
    ours: Any

    def get_interface(self, name: str, default: Any) -> Any:
        """Return a kernel; see transformers' `AttentionInterface`."""
        return self.ours if name == _STOCK else self.registry.get_interface(name, default)


def attend(
    stock: Any,
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **named: Any,
) -> tuple[Tensor, None]:
    """Attend as `stock`, transformers' `sdpa`, does: queries `(B, heads, T, D)`; returns `(B, T, heads, D)` and no
    weights.

    A device's kernels for shared keys take no mask, which `stock` knows; a host's do.
    """
    one = query.shape[2] == 1
    mask = None if one and getattr(attention_mask, _SEEN, False) else attention_mask
    if query.device.type != "cpu" or (mask is None and not one) or not _OTHERS.isdisjoint(named):
        return stock(module, query, key, value, mask, scaling=scaling, **named)  # type: ignore[no-any-return]
    shared = key.shape[1] != query.shape[1]
    output = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scaling, enable_gqa=shared
    )
    return output.transpose(1, 2), None
