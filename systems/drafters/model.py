"""A small language model as the drafter, and a tap on what its layers see while it drafts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from systems.drafters.base import Draft
from systems.runtime.decoder import Decoder
from systems.runtime.sampling import Chooser

AttentionListener = Callable[[int, Tensor], None]
"""Called with a draft layer and the `(B, H)` input of its MLP, the normalised attention output, of the one
token per row that is being drafted from."""


class ModelDrafter:
    """Drafts autoregressively with a model that keeps its own KV cache.

    Args:
        model: a transformers causal language model sharing the target's vocabulary.
        listener: told what each layer's attention puts out, while drafting only (not at prompts).
    """

    def __init__(
        self, model: Any, draft_length: int, fast_bytes: int, listener: AttentionListener | None = None
    ) -> None:
        self.draft_length, self.fast_bytes = draft_length, fast_bytes
        self._model, self._listener = model, listener
        self._decoder: Decoder
        self._read: list[int] = []
        self._pending: list[list[int]] = []
        self._hooks: list[Any] = []
        self._current: Tensor | None = None

    def begin(self, prompts: Sequence[Sequence[int]], capacity: int, chooser: Chooser) -> None:
        """Read the prompts, then listen."""
        self._decoder = Decoder(self._model, len(prompts), capacity)
        for row, prompt in enumerate(prompts):
            self._decoder.prefill(row, prompt)
        self._read = [len(prompt) for prompt in prompts]
        self._pending = [[] for _ in prompts]
        if self._listener is not None:
            layers = self._model.get_decoder().layers
            self._hooks = [layer.mlp.register_forward_pre_hook(self._hear(i)) for i, layer in enumerate(layers)]

    def propose(self, chooser: Chooser) -> Draft:
        """Draft greedily or by sampling, as the requests ask."""
        choices = []
        tokens, last = self._padded_pending()
        for _ in range(self.draft_length):
            self._current = last
            logits = self._decoder.forward(tokens, self._read)
            rows = torch.arange(len(self._read), device=logits.device)
            choice = chooser.choose(logits[rows, last] if logits.shape[1] > 1 else logits[:, 0])
            self._read = [read + 1 + int(at) for read, at in zip(self._read, last.tolist(), strict=True)]
            choices.append(choice)
            tokens, last = choice.tokens[:, None], torch.zeros_like(last)
        probabilities = [choice.probabilities for choice in choices if choice.probabilities is not None]
        return Draft(
            torch.stack([choice.tokens for choice in choices], 1),
            torch.stack(probabilities, 1) if probabilities else None,
        )

    def observe(self, row: int, tokens: Sequence[int]) -> None:
        """Roll back to what was accepted; what is final but unread waits for the next proposal.

        Of a proposal, the last token has never been read, so at most `draft_length - 1` positions stand.
        """
        if self._pending[row]:
            standing = min(len(tokens) - 1, self.draft_length - 1)
            self._read[row] -= self.draft_length - 1 - standing
            self._pending[row] = list(tokens[standing:])
        else:
            self._pending[row] = list(tokens)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop finished rows."""
        self._decoder.keep(rows)
        self._read = [self._read[row] for row in rows]
        self._pending = [self._pending[row] for row in rows]

    def end(self) -> None:
        """Stop listening: the model is shared between systems."""
        while self._hooks:
            self._hooks.pop().remove()

    def _padded_pending(self) -> tuple[Tensor, Tensor]:
        """Return unread tokens `(B, width)` and the index `(B,)` of the last real one per row.

        Padding is written after a row's own tokens, where the next forward overwrites it.
        """
        width = max(len(pending) for pending in self._pending)
        device = self._decoder.device
        padded = [pending + [0] * (width - len(pending)) for pending in self._pending]
        last = [len(pending) - 1 for pending in self._pending]
        return torch.tensor(padded, device=device), torch.tensor(last, device=device)

    def _hear(self, layer: int) -> Callable[[Any, tuple[Tensor, ...]], None]:
        def hook(_: Any, inputs: tuple[Tensor, ...]) -> None:
            assert self._listener is not None
            hidden = inputs[0]
            if hidden.shape[1] > 1:
                hidden = hidden[torch.arange(len(hidden), device=hidden.device), self._current]
            else:
                hidden = hidden[:, 0]
            self._listener(layer, hidden)

        return hook
