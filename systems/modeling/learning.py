"""What only a try tells of a model: how it has to be read. Done once, when it is loaded, on a text of a few tokens.

What is read at once is compared with what transformers' own cache gives; a model that our cache does not serve, for
whatever reason, is read by its own, one token at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from systems.modeling.decoder import Decoder, Way, ways
from systems.modeling.kv_cache import RaggedLengths
from systems.modeling.masks import positional, state_numbers
from systems.modeling.states import step_by_step

_TEXT = (0, 1, 2, 3, 1, 0)
_READ, _DRAFTED = 2, 2
"""How much of the text is a prompt, and how many tokens are read at once behind it, twice: the first time in vain."""
_CLOSE = {torch.float32: 1e-2, torch.bfloat16: 0.1, torch.float16: 0.1}
"""How far apart logits may be, of the largest, by dtype: more than rounding, less than what a wrong mask makes."""


@torch.inference_mode()
def learn(model: Any) -> None:
    """Find out how a model has to be read. Its experts are computed by whatever its port has."""
    if not positional(model):
        return
    if numbers := state_numbers(model.config.get_text_config()):
        if not (mixers := _mixers(model, set(numbers))):
            return
        step_by_step(model, mixers)
        ways[model] = Way(stepping=True)
    ours = _tried(model)
    stepping = ways.get(model, Way()).stepping
    ways[model] = Way(own=True)
    theirs = _read(model)
    if ours is not None and (ours - theirs).abs().max() <= _CLOSE[model.dtype] * theirs.abs().max():
        ways[model] = Way(stepping=stepping)
        ways[model] = Way(apart=_asks(model), stepping=stepping)


def _tried(model: Any) -> Tensor | None:
    """Return what reading at once gives; None where the model does not take our cache."""
    try:
        return _read(model)
    except (AttributeError, TypeError, ValueError, NotImplementedError, IndexError, KeyError):
        return None


def _read(model: Any) -> Tensor:
    """Read a prompt, a draft that is rejected, and what follows; return the logits of all."""
    decoder = Decoder(model, 1, len(_TEXT))
    decoder.undo(_DRAFTED)
    prompt, rejected, text = _TEXT[:_READ], _TEXT[-_DRAFTED:], _TEXT[_READ : _READ + _DRAFTED]
    logits = [decoder.prefill(0, prompt)[None]]
    for tokens in (rejected, text):
        logits.append(decoder.forward(torch.tensor([tokens], device=decoder.device), [_READ])[0])
    return torch.cat(logits).float()


@torch.inference_mode()
def read_along(model: Any) -> Tensor:
    """Let a model read a prompt, tokens one by one behind it, and two at once; return the logits of all."""
    decoder = Decoder(model, 1, len(_TEXT))
    decoder.undo(_DRAFTED)
    logits = [decoder.prefill(0, _TEXT[:_READ])[None]]
    for start, stop in ((2, 3), (3, 4), (4, 6)):
        logits.append(decoder.forward(torch.tensor([_TEXT[start:stop]], device=decoder.device), [start])[0])
    return torch.cat(logits).float()


def _asks(model: Any) -> bool:
    """Whether a model asks how long the text is, which rows of unequal length have no common answer to."""
    decoder = Decoder(model, 2, 3)
    decoder.prefill(0, [0])
    decoder.prefill(1, [0, 0])
    try:
        decoder.forward(torch.zeros(2, 1, dtype=torch.long, device=decoder.device), [1, 2])
    except RaggedLengths:
        return True
    return False


def _mixers(model: Any, layers: set[int]) -> dict[Any, int]:
    """Return the modules that ask a cache for the states of these layers, and the layer of each; none where only the
    family's own class of caches will do."""
    from transformers.cache_utils import DynamicCache

    found: dict[Any, int] = {}
    inside: list[Any] = []

    class Spy(DynamicCache):  # type: ignore[misc]
        def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> Any:
            found[inside[-1]] = layer_idx
            return super().get_conv_state(layer_idx, state_idx)

        def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> Any:
            found[inside[-1]] = layer_idx
            return super().get_recurrent_state(layer_idx, state_idx)

    hooks = [module.register_forward_pre_hook(lambda module, _: inside.append(module)) for module in model.modules()]
    hooks += [module.register_forward_hook(lambda *_: inside.pop() and None) for module in model.modules()]
    try:
        text = model.config.get_text_config()
        model(torch.tensor([_TEXT], device=model.device), past_key_values=Spy(config=text), use_cache=True)
    except ValueError:  # what a family says that has a class of caches for itself
        return {}
    finally:
        for hook in hooks:
            hook.remove()
    return {module: layer for module, layer in found.items() if layer in layers}
