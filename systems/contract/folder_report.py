"""What a model folder holds, found without loading it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FolderReport:
    """A checkpoint, by its `config.json` and the headers of its safetensors; 0 and "" where it does not say.

    Attributes:
        family: `model_type`.
        layers: of the decoder; `moe_layers` those that have experts.
        experts: of a layer; a token uses `top_k` of them.
        hidden: width of the model, `intermediate` that of one expert.
        expert_bytes: of the routed experts as stored, `other_bytes` of all else that is read, `unread_bytes` of
            tensors that belong to no layer of the model (those that predict several tokens).
        expert_weights: numbers in the routed experts, stored plainly; 0 where they are quantised.
        dtypes: bytes by dtype, as safetensors call it.
        quantised: the method, or None.
        vocabulary: rows of the embeddings; `tokens` what the tokenizer knows, None without one.
        context: positions.
        chat: whether the tokenizer has a chat template.
        problems: why it cannot be loaded; empty: it can.
    """

    family: str = ""
    layers: int = 0
    moe_layers: int = 0
    experts: int = 0
    top_k: int = 0
    hidden: int = 0
    intermediate: int = 0
    expert_bytes: int = 0
    other_bytes: int = 0
    unread_bytes: int = 0
    expert_weights: int = 0
    dtypes: tuple[tuple[str, int], ...] = ()
    quantised: str | None = None
    vocabulary: int = 0
    tokens: int | None = None
    context: int = 0
    chat: bool = False
    problems: tuple[str, ...] = ()

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why it cannot be run as a target; empty: it can."""
        dense = "it holds no routed experts: a dense model may be a draft, a target is a Mixture of Experts"
        return self.problems or (() if self.moe_layers else (dense,))
