"""What a query may read, by kind of layer: transformers' own mask functions, called at the positions of our rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from systems.modeling.states import KINDS
from systems.operators.attention import everything

Visible = Callable[[Tensor, Tensor], Tensor]
"""From query positions `(B, 1, T, 1)` and key positions `(S,)` to what may be read, `(B, 1, T, S)`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a kind of layer lets a query read.

    Attributes:
        reach: the longest text of which its last position reads everything; None: any.
    """

    visible: Visible
    reach: int | None = None


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
        self._rules: dict[str, Rule | None] | None = None
        layers = kinds(text)
        rules = {kind: _rule(kind, own.get("sliding_window")) for kind, own in layers if kind in _AT_POSITIONS}
        self._rule = next(iter(rules.values()), _CAUSAL)
        named = getattr(text, "layer_types", None)
        self.plain = self._lowest is None and {kind for kind, _ in layers} == {"full_attention"}
        if named is not None:
            window = getattr(text, "sliding_window", None)
            self._rules = {**rules}  # before the others: some families take the first
            self._rules.setdefault("full_attention", _CAUSAL)
            self._rules["attention"] = self._rules["full_attention"]
            if window is not None:
                self._rules.setdefault("sliding_attention", _rule("sliding_attention", window))
            self._rules |= dict.fromkeys((*_NOTHING, *KINDS, "mamba"))
        # Made once: of it there is a view for every length.
        self._open = torch.zeros(1, dtype=self._dtype, device=model.device)
        if self._lowest is None:
            self._open = torch.ones(1, dtype=torch.bool, device=model.device)

    def __call__(self, positions: Tensor, end: int, last: bool) -> Tensor | dict[str, Tensor | None]:
        """Return the mask `(B, 1, T, end)` of queries at `positions` `(B, T)`, or one per kind of layer (None: none).

        True where a query may read; where attention adds its mask, 0 there and the lowest number elsewhere.

        Args:
            last: whether there is one query a row, each at the last position, `end - 1`.
        """
        if self._rules is None:
            return self._mask(self._rule, positions, end, last)
        made = {rule: self._mask(rule, positions, end, last) for rule in {*self._rules.values()} if rule is not None}
        return {kind: None if rule is None else made[rule] for kind, rule in self._rules.items()}

    def _mask(self, rule: Rule, positions: Tensor, end: int, last: bool) -> Tensor:
        if last and (rule.reach is None or end <= rule.reach):
            return everything(self._open, len(positions), end)
        visible = rule.visible(positions[:, None, :, None], torch.arange(end, device=positions.device))
        if self._lowest is None:
            return visible
        return torch.zeros(visible.shape, dtype=self._dtype, device=visible.device).masked_fill_(~visible, self._lowest)


def _causal(queries: Tensor, keys: Tensor) -> Tensor:
    return keys <= queries


_CAUSAL = Rule(_causal)


def _rule(kind: str, window: int | None) -> Rule:
    """Return what a kind of layer lets a query read."""
    if window is None:
        return _CAUSAL
    from transformers.masking_utils import chunked_causal_mask_function, sliding_window_causal_mask_function

    if kind == "chunked_attention":
        rule: Any = chunked_causal_mask_function(window, torch.zeros(1, dtype=torch.long))
    else:
        rule = sliding_window_causal_mask_function(window)

    def visible(queries: Tensor, keys: Tensor) -> Tensor:
        found: Tensor = rule(torch.zeros((), dtype=torch.long), 0, queries, keys)
        return found

    return Rule(visible, window)
