"""What a recording knows of the models that it was made from: their numbers and their tokenizer, not their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from systems.contract.config import ModelConfig
from systems.replay.trace import Header
from systems.runtime.model_files import Tokenized, fingerprint, overrides


class RecordedPair(Tokenized):
    """`systems.contract.pair.ModelPair` over a trace's header and the model folders that a config names.

    Nothing is loaded but the tokenizer and the target's own config. `describe` tells which weights are in the folders
    now, so that a trace of others can be told.

    Raises:
        BadInput: a file is missing.
    """

    device = "cpu"

    def __init__(self, config: ModelConfig, root: Path, header: Header) -> None:
        from transformers import AutoConfig

        super().__init__(root / config.tokenizer)
        found = {
            "target": fingerprint(root / config.target),
            "draft": fingerprint(root / config.draft) if config.draft else None,
        }
        numbers = overrides(config, header.experts)
        target: Any = AutoConfig.from_pretrained(root / config.target, local_files_only=True, **numbers)
        self.name = config.name
        self.vocab_size: int = target.vocab_size
        self.context_length: int = target.max_position_embeddings
        self.top_k: int = target.num_experts_per_tok
        self.num_layers, self.num_experts = header.layers, header.experts
        self.record_bytes = header.record_bytes
        self.expert_bytes = header.expert_bytes
        self.draft_bytes: int = header.facts["draft_bytes"]
        self.non_expert_bytes: int = header.facts["non_expert_bytes"]
        self.stop_tokens = frozenset(header.stop_tokens)
        here = {"name": config.name, "dtype": config.dtype, "store": config.store, "top_k": self.top_k}
        self._facts = header.facts | found | here

    def describe(self) -> dict[str, Any]:
        """What was recorded, and what the folders hold."""
        return dict(self._facts)

    def close(self) -> None:
        """Nothing is open."""
