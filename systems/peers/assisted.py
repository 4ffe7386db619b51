"""transformers' own speculative decoding, all experts resident: `generate` with the pair's draft as its assistant."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from systems.contract.errors import BadInput
from systems.contract.meter import Meter, NullMeter
from systems.files.vocabulary import end_logits
from systems.modeling.loading import load_model
from systems.peers.generate import TransformersGenerate, Watcher
from systems.peers.part import TransformersAssistedPart
from systems.runtime.pair import Pair

_GENERATION_LOG = logging.getLogger("transformers.generation.utils")


class TransformersAssisted(TransformersGenerate):
    """`systems.contract.system.System` around `model.generate(assistant_model=draft)`.

    The schedule is pinned: by default it starts at 20 drafts, ends a draft at a low confidence and adapts both as it
    goes, so that two runs are not alike. It drafts fewer only before the end of the request, or after proposing the
    end of text. Drafting is timed as such, and verification is the rest.

    No steps are reported. transformers drafts before it has read the prompt, so that its first forward is prefill
    and verification at once: the steps do not add up to the tokens as they do where the prefill commits one token.
    For the same reason its first commit may hold several tokens, of which only the first is outside TPOT.

    transformers assists one request at a time, so a batch runs request by request.

    Raises:
        BadInput: the pair has no draft.
    """

    most_rows = 1

    def __init__(self, pair: Pair, options: TransformersAssistedPart) -> None:
        if pair.config.draft is None:
            raise BadInput(
                f"engine.part=transformers_assisted needs a draft, and model {pair.name} has none; set `model.draft`"
            )
        super().__init__(pair)
        draft = load_model(Path(pair.config.draft), getattr(torch, pair.config.dtype), pair.device)
        end_logits(draft, pair.vocab_size)
        # Where sizes differ by padding alone: transformers takes other sizes for other tokens.
        draft.config.get_text_config().vocab_size = self._model.config.get_text_config().vocab_size
        # transformers reads these from the assistant's own generation config, and nowhere else.
        draft.generation_config.num_assistant_tokens = options.draft_length
        draft.generation_config.num_assistant_tokens_schedule = "constant"
        draft.generation_config.assistant_confidence_threshold = 0.0
        self._propose, draft.generate = draft.generate, self._timed_draft
        self._arguments = {"assistant_model": draft}
        self._meter: Meter = NullMeter([])
        self._draft_length = options.draft_length
        _GENERATION_LOG.addFilter(_is_for_users)
        self._position_bytes += pair.draft_position_bytes
        self.fast_bytes = pair.expert_bytes + pair.draft_bytes

    def describe(self) -> dict[str, Any]:
        """The pinned schedule, besides what transformers chose."""
        return super().describe() | {"draft_length": self._draft_length, "draft_schedule": "constant"}

    def close(self) -> None:
        """Drop both models."""
        super().close()
        self._arguments, self._propose = {}, None
        _GENERATION_LOG.removeFilter(_is_for_users)

    def _begin(self, meter: Meter) -> None:
        self._meter = meter

    def _watched_by(self, watcher: Watcher) -> dict[str, Any]:
        """Tokens are taken from the stream of settled ones: transformers 5.17 asks stopping criteria about drafts, too,
        and 5.23 does not."""
        return {"streamer": _Stream(watcher), "stopping_criteria": [watcher.done]}

    def _timed_draft(self, *args: Any, **kwargs: Any) -> Any:
        with self._meter.span("draft"):
            return self._propose(*args, **kwargs)


class _Stream:
    """A `streamer` of `generate`, which is given the prompt first and then what each step has settled."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher, self._prompt_read = watcher, False

    def put(self, value: torch.Tensor) -> None:
        """Pass tokens `(1, n)` of the only row on, if they are not the prompt's."""
        if self._prompt_read:
            self._watcher.settle(value.tolist())
        self._prompt_read = True

    def end(self) -> None:
        """Nothing is kept back."""


def _is_for_users(record: logging.LogRecord) -> bool:
    """Drop the advice against mixing arguments with a config: it is transformers that does so, whenever it drafts."""
    return not record.getMessage().startswith("Passing `generation_config` together")
