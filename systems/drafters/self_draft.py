"""The target as its own draft: its layers, its KV cache, and other products in place of its experts'."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from systems.modeling.decoder import Decoder
from systems.modeling.experts import Arithmetic, ExpertPort, Mixer
from systems.operators.uploading import upload
from systems.runtime.drafting import Draft, nothing
from systems.runtime.sampling import Chooser


class SelfDrafter:
    """Drafts with the target's own layers while `port` computes what `_mix` puts in the experts' place.

    Drafting writes keys and values at the positions of the drafted tokens; verification writes the target's own
    over them, and what is rejected lies behind every later query until it is overwritten.
    """

    def __init__(self, port: ExpertPort, draft_length: int, fast_bytes: int) -> None:
        self.draft_length, self.fast_bytes = draft_length, fast_bytes
        self._port = port
        self._target: Decoder
        self._lengths: list[int] = []
        self._last: list[int] = []

    def begin(self, prompts: Sequence[Sequence[int]], target: Decoder) -> None:
        """Share the target's decoder, whose cache holds the prompts."""
        self._target = target
        self._lengths, self._last = [], []
        self.join(prompts)

    def join(self, prompts: Sequence[Sequence[int]]) -> None:
        """Note where these rows stand: before their first token is observed, at the prompt's last."""
        self._lengths += [len(prompt) - 1 for prompt in prompts]
        self._last += [prompt[-1] for prompt in prompts]

    def propose(self, chooser: Chooser, length: int) -> Draft:
        """Draft `length` tokens per row."""
        return self._draft(chooser, length) if length else nothing(len(self._last), self._target.device)

    def observe(self, row: int, tokens: Sequence[int]) -> None:
        """Go on behind the tokens that are final."""
        self._lengths[row] += len(tokens)
        self._last[row] = tokens[-1]

    def keep(self, rows: Sequence[int]) -> None:
        """Drop finished rows."""
        self._lengths = [self._lengths[row] for row in rows]
        self._last = [self._last[row] for row in rows]

    def end(self) -> None:
        """Nothing to end."""

    def _draft(self, chooser: Chooser, count: int) -> Draft:
        """Draft `count` tokens per row."""
        choices = []
        tokens = upload(self._last, self._target.device)
        own: Mixer = self._port.mixer
        self._port.mixer = self._mix
        try:
            for place in range(count):
                self._begin_token()
                starts = [length + place for length in self._lengths]
                choices.append(chooser.choose(self._target.forward(tokens[:, None], starts)[:, -1]))
                tokens = choices[-1].tokens
                self._end_token(place + 1, count)
        finally:
            self._port.mixer = own
        probabilities = [choice.probabilities for choice in choices if choice.probabilities is not None]
        return Draft(
            torch.stack([choice.tokens for choice in choices], 1),
            torch.stack(probabilities, 1) if probabilities else None,
        )

    def _begin_token(self) -> None:
        """A token is about to be drafted in every row."""

    def _end_token(self, drafted: int, wanted: int) -> None:
        """So many of the wanted tokens are drafted."""

    def _mix(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Compute what stands for a layer's experts: a `systems.modeling.experts.Mixer`."""
        raise NotImplementedError
