"""What is asked of a system."""

from __future__ import annotations

from dataclasses import dataclass

from systems.contract.options import require


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 switch truncation off."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise `BadInput` for what cannot be sampled by."""
        require(self.temperature >= 0, "sampling.temperature", self.temperature, "0 (greedy) or more")
        require(self.top_k >= 0, "sampling.top_k", self.top_k, "0 (no limit) or more")
        require(0 < self.top_p <= 1, "sampling.top_p", self.top_p, "above 0, and 1 (no limit) at most")


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to continue. `prompt` holds token ids; `max_new_tokens` bounds the KV cache, not the count."""

    id: str
    prompt: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling = Sampling()
