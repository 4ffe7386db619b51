"""N-gram drafting: what followed the same words earlier in the text is proposed again (prompt lookup decoding)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from systems.modeling.decoder import Decoder
from systems.operators.uploading import upload
from systems.runtime.drafting import Draft, nothing
from systems.runtime.sampling import Chooser


class PromptLookup:
    """Proposes what followed the latest earlier occurrence of the row's last n-gram, the longest n first.

    Rows without a match propose nothing in that step. No weights, no memory.

    Args:
        longest: the longest n-gram that is looked up.
    """

    fast_bytes = 0

    def __init__(self, draft_length: int, longest: int, device: torch.device) -> None:
        self.draft_length = draft_length
        self._longest, self._device = longest, device
        self._texts: list[list[int]] = []

    def begin(self, prompts: Sequence[Sequence[int]], target: Decoder) -> None:
        """Remember the prompts."""
        self._texts = [list(prompt) for prompt in prompts]

    def join(self, prompts: Sequence[Sequence[int]]) -> None:
        """Remember these too."""
        self._texts += [list(prompt) for prompt in prompts]

    def propose(self, chooser: Chooser, length: int) -> Draft:
        """Look every row up; shorter proposals are padded."""
        if not length:
            return nothing(len(self._texts), self._device)
        found = [continuation(text, self._longest, length) for text in self._texts]
        width = max(len(tokens) for tokens in found)
        padded = [tokens + [0] * (width - len(tokens)) for tokens in found]
        tokens = upload(padded, self._device).view(len(found), width)
        return Draft(tokens, None, tuple(len(tokens) for tokens in found))

    def observe(self, row: int, tokens: Sequence[int]) -> None:
        """Append what is final."""
        self._texts[row] += tokens

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows."""
        self._texts = [self._texts[row] for row in rows]

    def end(self) -> None:
        """Nothing to end."""


def continuation(text: Sequence[int], longest: int, most: int) -> list[int]:
    """Return up to `most` tokens that followed the latest earlier occurrence of the end of `text`."""
    for size in range(min(longest, len(text) - 1), 0, -1):
        tail = list(text[-size:])
        for start in range(len(text) - size - 1, -1, -1):
            if text[start : start + size] == tail:
                return list(text[start + size : start + size + most])
    return []
