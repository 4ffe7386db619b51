"""A small language model as the drafter, and a tap on what its layers see while it drafts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from systems.cache.clock import Pace
from systems.contract.errors import BadInput
from systems.modeling.decoder import Decoder, MakeDecoder
from systems.operators.uploading import upload
from systems.policies.draft_lengths import DraftLengths
from systems.runtime.drafting import Draft, nothing
from systems.runtime.sampling import Chooser


class AttentionListener(Protocol):
    """Hears the input of the MLP of each draft layer, the normalised attention output."""

    def cares(self, layer: int) -> bool:
        """Whether it would make anything of a layer."""

    def choose(self, layer: int, hidden: Tensor) -> Tensor | None:
        """Choose experts `(T, k)` for inputs `(T, H)`; None: it never will for this layer."""

    def hint(self, layer: int, chosen: list[list[int]]) -> None:
        """Take what was chosen for the one token per row that is being drafted from, `(B, k)`."""


class ModelDrafter:
    """Drafts autoregressively with a model that keeps its own KV cache.

    Args:
        model: a transformers causal language model sharing the target's vocabulary.
        listener: told what each layer's attention puts out, while drafting only (not at prompts).
        pace: how long a layer takes on a virtual clock; None: it takes what it takes.
        decoder: makes what computes the model's forwards.
        lengths: how many tokens to draft at most, by positions of all rows; None: as many as are asked for.
        foresees: whether anybody asks if a draft goes on from what this model alone would have gone on with.
    """

    def __init__(
        self,
        model: Any,
        draft_length: int,
        fast_bytes: int,
        listener: AttentionListener | None = None,
        pace: Pace | None = None,
        decoder: MakeDecoder = Decoder,
        lengths: DraftLengths | None = None,
        foresees: bool = False,
    ) -> None:
        self.draft_length, self.fast_bytes, self._foresees = draft_length, fast_bytes, foresees
        self._lengths, self._proposed = lengths, 0
        self._model, self._listener, self._pace, self._make = model, listener, pace, decoder
        self._decoder: Decoder
        self._read: list[int] = []
        self._pending: list[list[int]] = []
        self._hooks: list[Any] = []
        self._last: list[int] = []

    def begin(self, prompts: Sequence[Sequence[int]], target: Decoder) -> None:
        """Read the prompts, then listen."""
        self._decoder = self._make(self._model, target.rows, target.capacity)
        self._decoder.undo(self.draft_length + 1)
        self._read, self._pending = [], []
        self.join(prompts)

    def join(self, prompts: Sequence[Sequence[int]]) -> None:
        """Read the prompts, and do not listen meanwhile."""
        self.end()
        for row, prompt in enumerate(prompts, start=len(self._read)):
            self._decoder.prefill(row, prompt)
        self._read += [len(prompt) for prompt in prompts]
        self._pending += [[] for _ in prompts]
        if self._listener is not None or self._pace is not None:
            layers = self._model.get_decoder().layers
            self._hooks = [_mlp(layer).register_forward_pre_hook(self._hear(i)) for i, layer in enumerate(layers)]

    def propose(self, chooser: Chooser, length: int) -> Draft:
        """Draft greedily or by sampling, as the requests ask. Where nothing is drafted, nothing is read."""
        choices = []
        self._proposed = min(length, self._lengths(sum(self._read))) if self._lengths else length
        if not self._proposed:
            return nothing(len(self._read), self._decoder.device)
        self._catch_up()
        tokens, self._last = self._padded_pending()
        foreseen = False
        for place in range(self._proposed):
            logits = self._decoder.forward(tokens, self._read)
            if place == 0 and self._foresees:
                foreseen = self._foresaw(tokens, logits)
            choice = chooser.choose(self._at_last(logits))
            self._read = [read + 1 + last for read, last in zip(self._read, self._last, strict=True)]
            choices.append(choice)
            tokens, self._last = choice.tokens[:, None], [0] * len(self._last)
        probabilities = [choice.probabilities for choice in choices if choice.probabilities is not None]
        return Draft(
            torch.stack([choice.tokens for choice in choices], 1),
            torch.stack(probabilities, 1) if probabilities else None,
            foreseen=foreseen and not probabilities,
        )

    def _foresaw(self, tokens: Tensor, logits: Tensor) -> bool:
        """Whether every row ends with the token that this model would have put there: the target has accepted all that
        was drafted, and added that."""
        if min(self._last) < 1:  # a draft was rejected, or a row has just begun
            return False
        rows, last = range(len(self._last)), upload(self._last, tokens.device)
        return bool((logits[rows, last - 1].argmax(-1) == tokens[rows, last]).all())

    def observe(self, row: int, tokens: Sequence[int]) -> None:
        """Roll back to what was accepted; what is final but unread waits for the next proposal.

        Of a proposal, the last token has never been read, so at most all but one of its positions stand.
        """
        if self._proposed and self._pending[row]:
            standing = min(len(tokens) - 1, self._proposed - 1)
            self._read[row] -= self._proposed - 1 - standing
            self._pending[row] = list(tokens[standing:])
        else:
            self._pending[row] += tokens

    def keep(self, rows: Sequence[int]) -> None:
        """Drop finished rows."""
        self._decoder.keep(rows)
        self._read = [self._read[row] for row in rows]
        self._pending = [self._pending[row] for row in rows]

    def end(self) -> None:
        """Stop listening: the model is shared between systems."""
        while self._hooks:
            self._hooks.pop().remove()

    def _catch_up(self) -> None:
        """Let rows that lag behind the others, since nothing was drafted when these joined, read what they have more to
        read: padding would reach beyond the end of short rows."""
        most = min(len(pending) for pending in self._pending) + 1
        for row, pending in enumerate(self._pending):
            if surplus := pending[:-most]:
                self._last = []  # nobody listens
                self._decoder.prefill(row, surplus, self._read[row])
                self._read[row] += len(surplus)
                self._pending[row] = pending[-most:]

    def _padded_pending(self) -> tuple[Tensor, list[int]]:
        """Return unread tokens `(B, width)` and the index of the last real one per row.

        Padding is written after a row's own tokens, where the next forward overwrites it.
        """
        width = max(len(pending) for pending in self._pending)
        padded = [pending + [0] * (width - len(pending)) for pending in self._pending]
        return upload(padded, self._decoder.device), [len(pending) - 1 for pending in self._pending]

    def _at_last(self, values: Tensor) -> Tensor:
        """Pick `(B, ...)` at the last real token of each row from `(B, width, ...)`."""
        return values[:, 0] if values.shape[1] == 1 else values[range(len(self._last)), self._last]

    def _hear(self, layer: int) -> Callable[[Any, tuple[Tensor, ...]], None]:
        def hook(_: Any, inputs: tuple[Tensor, ...]) -> None:
            if self._pace is not None:
                self._pace.draft_layer(inputs[0].shape[0] * inputs[0].shape[1])
            if self._listener is not None and self._last:
                self._listen(self._listener, layer, inputs[0])

        return hook

    def _listen(self, listener: AttentionListener, layer: int, heard: Tensor) -> None:
        """Have experts chosen for the tokens that are drafted from; where a forward is recorded, for all its tokens,
        since those of later ones may be others."""
        if not self._decoder.recording:
            if listener.cares(layer) and (chosen := listener.choose(layer, self._at_last(heard))) is not None:
                listener.hint(layer, chosen.tolist())
        elif (chosen := listener.choose(layer, heard.flatten(0, 1))) is not None:
            self._decoder.later(chosen.unflatten(0, heard.shape[:2]), partial(self._hint, listener, layer))

    def _hint(self, listener: AttentionListener, layer: int, chosen: list[list[list[int]]]) -> None:
        """Hand on what was chosen for all tokens of a forward, `(B, T, k)`."""
        if self._last and listener.cares(layer):
            listener.hint(layer, [tokens[last] for tokens, last in zip(chosen, self._last, strict=True)])


def _mlp(layer: Any) -> Any:
    """Return what a draft layer does behind its attention, by the names that families have for it."""
    for name in ("mlp", "feed_forward"):
        if (found := getattr(layer, name, None)) is not None:
            return found
    raise BadInput(f"{type(layer).__name__} of the draft has no MLP to listen at; choose another `model.draft`")
