"""SP-MoE's predictor: the draft's attention output, seen through the target's router of the same layer.

Draft and target are layer-aligned, so what the draft's layer l feeds its MLP resembles what the target's
layer l will feed its router for the same token (SP-MoE, arXiv 2510.10302, section 3.2). No training, no
projection: the target's router, which is resident, reads the draft's hidden state.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from systems.contract.errors import BadInput
from systems.policies.listening import distinct
from systems.runtime.naming import choosing
from systems.runtime.pair import Pair

Prefetch = Callable[[int, list[int]], object]
"""Called with the ordinal of a target layer and the experts it will probably need."""


class DraftAttention:
    """An `AttentionListener` that turns hidden states into hints, as deep as `depth` says.

    Args:
        depth: number of leading MoE layers to predict; asked at each layer, so that it can change.

    Raises:
        BadInput: the pair has no draft, or one with another number of layers or another width.
    """

    def __init__(self, pair: Pair, depth: Callable[[], int], prefetch: Prefetch) -> None:
        _check_alignment(pair)
        self._ordinal = {layer: ordinal for ordinal, layer in enumerate(pair.store.shape.layers)}
        self._choose = {layer: choosing(pair.routers[ordinal]) for layer, ordinal in self._ordinal.items()}
        self._depth, self._prefetch = depth, prefetch

    def cares(self, layer: int) -> bool:
        """Whether a layer of the draft has one of the target's MoE layers beside it, above the depth."""
        ordinal = self._ordinal.get(layer)
        return ordinal is not None and ordinal < self._depth()

    def choose(self, layer: int, hidden: Tensor) -> Tensor | None:
        """Let the target's router choose `(T, k)` for what a draft layer feeds its MLP, `(T, H)`; None: it has none."""
        return self._choose[layer](hidden) if layer in self._choose else None

    def hint(self, layer: int, chosen: list[list[int]]) -> None:
        """Prefetch what was chosen for the token of each row, `(B, k)`."""
        self._prefetch(self._ordinal[layer], distinct(chosen))


def _check_alignment(pair: Pair) -> None:
    if pair.draft is None:
        raise BadInput("predictor.part=draft_attention needs a draft; set `model.draft`")
    ours, theirs = pair.target.config.get_text_config(), pair.draft.config.get_text_config()
    for key, name in (("num_hidden_layers", "layers"), ("hidden_size", "hidden units")):
        if getattr(ours, key) != getattr(theirs, key):
            raise BadInput(
                f"draft {pair.config.draft} has {getattr(theirs, key)} {name} and target {pair.config.target} "
                f"{getattr(ours, key)}: predictor.part=draft_attention needs an aligned pair; use system=sd_offload"
            )
