"""What a query may read, by kind of layer: transformers' own mask functions, called at the positions of our rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from systems.modeling.states import KINDS

Visible = Callable[[Tensor, Tensor], Tensor]
"""From query positions `(B, 1, T, 1)` and key positions `(S,)` to what may be read, `(B, 1, T, S)`."""
_AT_POSITIONS = frozenset({"full_attention", "sliding_attention", "chunked_attention", "indexed_attention"})
"""Kinds of layers that read keys and values, each at its position, and keep nothing else."""
_NOTHING = frozenset({"moe", "mlp", "dummy"})
"""Kinds of layers, in transformers' names, that keep nothing of their own."""


def positional(model: Any) -> bool:
    """Whether all that a model keeps of a text is keys and values at positions, and states that `States` knows.

    Of each kind of layer all must have the same window, since one mask serves them.
    """
    text = model.config.get_text_config()
    try:
        layers = kinds(text)
    except (AttributeError, KeyError, NotImplementedError, TypeError):
        return False
    known = {kind for kind, _ in layers} <= _AT_POSITIONS | _NOTHING | KINDS
    windows = {(kind, own.get("sliding_window")) for kind, own in layers}
    named = getattr(text, "layer_types", None) is not None or len(windows) == 1
    return known and named and len(windows) == len({kind for kind, _ in layers})


def kinds(text: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the kind of each layer, in transformers' names, and what its own cache would be made with."""
    from transformers.cache_utils import get_layer_types_and_kwargs

    names, own = get_layer_types_and_kwargs(text)
    if isinstance(own, dict):  # transformers before 5.20 tells all layers what some of them need
        own = [{key: value for key, value in own.items() if _takes(name, key)} for name in names]
    return list(zip(names, own, strict=True))


def _takes(kind: str, key: str) -> bool:
    """Whether a cache of a kind of layer is made with a keyword that is told to all."""
    windowed = "sliding" in kind or "chunked" in kind
    return {"sliding_window": windowed, "number_of_states": kind in KINDS or "hybrid" in kind}.get(key, True)


def state_numbers(text: Any) -> dict[int, int]:
    """Return how many states each layer has, by its number, of those that keep some."""
    return {number: own["number_of_states"] for number, (kind, own) in enumerate(kinds(text)) if kind in KINDS}


class Masks:
    """The masks of a model's forwards, in the form that its attention understands.

    Args:
        model: one that is `positional`.

    Attributes:
        plain: whether every layer reads all positions before a query, and attention takes boolean masks.
    """

    def __init__(self, model: Any) -> None:
        text = model.config.get_text_config()
        self._lowest = torch.finfo(model.dtype).min if text._attn_implementation == "eager" else None
        self._dtype: torch.dtype = model.dtype
        self._rules: dict[str, Visible | None] | None = None
        layers = kinds(text)
        rules = {kind: _visible(kind, own.get("sliding_window")) for kind, own in layers if kind in _AT_POSITIONS}
        self._rule: Visible = next(iter(rules.values()), _causal)
        named = getattr(text, "layer_types", None)
        self.plain = self._lowest is None and {kind for kind, _ in layers} == {"full_attention"}
        if named is not None:
            window = getattr(text, "sliding_window", None)
            self._rules = {**rules}  # before the others: some families take the first
            self._rules.setdefault("full_attention", _causal)
            self._rules["attention"] = self._rules["full_attention"]
            if window is not None:
                self._rules.setdefault("sliding_attention", _visible("sliding_attention", window))
            self._rules |= dict.fromkeys((*_NOTHING, *KINDS, "mamba"))

    def __call__(self, positions: Tensor, end: int) -> Tensor | dict[str, Tensor | None]:
        """Return the mask `(B, 1, T, end)` of queries at `positions` `(B, T)`, or one per kind of layer (None: none).

        True where a query may read; where attention adds its mask, 0 there and the lowest number elsewhere.
        """
        keys = torch.arange(end, device=positions.device)
        queries = positions[:, None, :, None]
        if self._rules is None:
            return self._form(self._rule(queries, keys))
        made = {rule: self._form(rule(queries, keys)) for rule in {*self._rules.values()} if rule is not None}
        return {kind: None if rule is None else made[rule] for kind, rule in self._rules.items()}

    def _form(self, visible: Tensor) -> Tensor:
        if self._lowest is None:
            return visible
        return torch.zeros(visible.shape, dtype=self._dtype, device=visible.device).masked_fill_(~visible, self._lowest)


def _causal(queries: Tensor, keys: Tensor) -> Tensor:
    return keys <= queries


def _visible(kind: str, window: int | None) -> Visible:
    """Return what a kind of layer lets a query read."""
    if window is None:
        return _causal
    from transformers.masking_utils import chunked_causal_mask_function, sliding_window_causal_mask_function

    if kind == "chunked_attention":
        rule: Any = chunked_causal_mask_function(window, torch.zeros(1, dtype=torch.long))
    else:
        rule = sliding_window_causal_mask_function(window)

    def visible(queries: Tensor, keys: Tensor) -> Tensor:
        found: Tensor = rule(torch.zeros((), dtype=torch.long), 0, queries, keys)
        return found

    return visible
