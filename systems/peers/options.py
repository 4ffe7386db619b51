"""Systems that other people wrote.

`packages` of an engine are what it runs on beyond the project's own dependencies, as `extra` installs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from systems.contract.options import require


@dataclass(frozen=True, slots=True)
class PeerResidencyOptions:
    """`residency.part: peer`: the engine itself decides what stays, within the budget; not for `composed`."""


@dataclass(frozen=True, slots=True)
class TransformersOptions:
    """`engine.part: transformers`: generation by transformers itself, all experts resident."""


@dataclass(frozen=True, slots=True)
class TransformersAssistedOptions:
    """`engine.part: transformers_assisted`: the same, the pair's draft assisting with `draft_length` tokens."""

    draft_length: int = 2

    def __post_init__(self) -> None:
        expected = "at least 1; engine.part=transformers drafts nothing"
        require(self.draft_length >= 1, "engine.draft_length", self.draft_length, expected)


@dataclass(frozen=True, slots=True)
class AccelerateOffloadOptions:
    """`engine.part: accelerate_offload`: transformers' generation, experts offloaded by accelerate's hooks."""

    extra: ClassVar[str] = "peers"
    packages: ClassVar[tuple[str, ...]] = ("accelerate",)


@dataclass(frozen=True, slots=True)
class LlamaCppOptions:
    """`engine.part: llama_cpp`: generation by llama.cpp on the processor, all experts resident."""

    extra: ClassVar[str] = "llama-cpp"
    packages: ClassVar[tuple[str, ...]] = ("xllamacpp", "gguf")


@dataclass(frozen=True, slots=True)
class LlamaCppDraftOptions:
    """`engine.part: llama_cpp_draft`: the same, the pair's draft proposing `draft_length` tokens."""

    draft_length: int = 2

    extra: ClassVar[str] = LlamaCppOptions.extra
    packages: ClassVar[tuple[str, ...]] = LlamaCppOptions.packages

    def __post_init__(self) -> None:
        expected = "at least 1; engine.part=llama_cpp drafts nothing"
        require(self.draft_length >= 1, "engine.draft_length", self.draft_length, expected)
