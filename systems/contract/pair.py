"""A loaded target and its draft."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class ModelPair(Protocol):
    """A loaded target (experts in slow memory) and its draft, shared by the systems of one run."""

    name: str
    vocab_size: int
    context_length: int
    num_layers: int
    """Number of MoE layers of the target."""
    num_experts: int
    top_k: int
    record_bytes: int
    """Bytes of one expert as stored and moved."""
    expert_bytes: int
    """Bytes of all experts of the target."""
    draft_bytes: int
    """Bytes of the draft's weights; 0 without a draft."""
    non_expert_bytes: int
    device: str

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""

    def prompt(self, text: str) -> list[int]:
        """Token ids of a dataset's prompt: of the text, or of a chat model's message with that text."""

    def decode(self, tokens: Sequence[int], after: Sequence[int] = ()) -> str:
        """Text of token ids as it reads behind those of `after`, special tokens skipped."""

    @property
    def activations(self) -> Any:
        """Activation matrices that were collected before (`systems.runtime.activation_file.Stored`), None where there
        are none.

        Raises:
            BadInput: the file is missing, broken, or of another model.
        """

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Ids that end a sequence."""

    def describe(self) -> dict[str, Any]:
        """Hashes, shapes and dtypes for the record."""

    def close(self) -> None:
        """Free weights and files."""
