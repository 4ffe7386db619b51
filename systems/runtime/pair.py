"""Loading a target whose experts stay in slow memory, and its draft."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from systems.contract.config import ModelConfig, located
from systems.contract.errors import BadInput
from systems.runtime import activation_file
from systems.runtime.activation_file import Stored
from systems.runtime.checkpoint import index_experts
from systems.runtime.decoder import position_bytes
from systems.runtime.experts import ExpertPort, bind_experts, experts_left_out
from systems.runtime.model_files import Tokenized, check_config, check_vocabulary, fingerprint, overrides, verify
from systems.runtime.store import ExpertStore
from systems.runtime.stores import open_store


class Pair(Tokenized):
    """A target, its experts' store, its draft and their tokenizer: `systems.contract.pair.ModelPair`.

    One instance serves all systems of a run: `port` decides which system's slots the target reads.
    """

    def __init__(self, config: ModelConfig, target: Any, draft: Any, tokenizer: Path, store: ExpertStore) -> None:
        self.tokenizer = _load_tokenizer(tokenizer)
        super().__init__(self.tokenizer.backend_tokenizer)
        self.name, self.config = config.name, config
        self.target, self.draft, self.store = target, draft, store
        self.port = ExpertPort()
        if bind_experts(target, self.port) != len(store.shape.layers):
            raise BadInput(f"{config.target}: the checkpoint's expert layers are not the model's")
        self.device = config.device
        self.num_layers, self.num_experts = len(store.shape.layers), store.shape.experts
        self.top_k: int = target.config.num_experts_per_tok
        self.decoder_layers: int = target.config.num_hidden_layers
        self.draft_layers: int = draft.config.num_hidden_layers if draft is not None else 0
        self.vocab_size: int = target.config.vocab_size
        self.context_length: int = target.config.max_position_embeddings
        self.record_bytes = store.shape.record_bytes(store.dtype)
        self.expert_bytes = self.record_bytes * store.shape.count
        self.non_expert_bytes = _bytes(target)
        self.draft_bytes = _bytes(draft) if draft is not None else 0

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Ids that end a sequence, from the generation config."""
        ids = self.target.generation_config.eos_token_id
        if ids is None:
            ids = self.tokenizer.eos_token_id
        return frozenset(ids if isinstance(ids, list) else [] if ids is None else [ids])

    @cached_property
    def activations(self) -> Stored | None:
        """Activation matrices that were collected before; see `systems.contract.pair.ModelPair`."""
        file = self.config.activations
        return None if file is None else activation_file.load(Path(file), self.describe())

    @cached_property
    def position_bytes(self) -> int:
        """Keys and values of one position in the target (bytes)."""
        self.port.mixer = lambda layer, hidden, *_: torch.zeros_like(hidden)
        return position_bytes(self.target)

    @cached_property
    def draft_position_bytes(self) -> int:
        """Keys and values of one position in the draft model (bytes); 0 without one."""
        return position_bytes(self.draft) if self.draft is not None else 0

    def describe(self) -> dict[str, Any]:
        """Identity of what was loaded."""
        return {
            "name": self.name,
            "target": fingerprint(Path(self.config.target)),
            "draft": fingerprint(Path(self.config.draft)) if self.config.draft else None,
            "tokenizer": self.tokenizer_hash,
            "dtype": self.config.dtype,
            "store": self.config.store,
            "layers": self.num_layers,
            "experts": self.num_experts,
            "top_k": self.top_k,
            "record_bytes": self.record_bytes,
            "draft_bytes": self.draft_bytes,
            "non_expert_bytes": self.non_expert_bytes,
        }

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def load(config: ModelConfig, root: Path) -> Pair:
    """Load a pair; for paths in `config` and `root` see `located`.

    Raises:
        BadInput: missing, truncated or corrupted files, or a draft that does not speak the target's tokens.
    """
    target_path, tokenizer_path = located(config.target, root), config.tokenizer_folder(root)
    draft_path = located(config.draft, root) if config.draft else None
    activations = str(located(config.activations, root)) if config.activations else None
    config = replace(
        config,
        target=str(target_path),
        draft=str(draft_path) if draft_path else None,
        activations=activations,
        cache_dir=str(root / config.cache_dir),
    )
    for folder in filter(None, (target_path, draft_path)):
        verify(folder)
        check_config(folder)
    dtype: torch.dtype = getattr(torch, config.dtype)
    index = index_experts(target_path)
    target = _load_target(target_path, dtype, config.device, overrides(config, index.shape.experts))
    draft = load_model(draft_path, dtype, config.device) if draft_path else None
    if draft is not None:
        check_vocabulary(target_path, target.config, draft_path, draft.config)
    store = open_store(config.store, index, dtype, Path(config.cache_dir))
    return Pair(config, target, draft, tokenizer_path, store)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers from reporting each expert tensor as unexpected, and from drawing progress bars."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Name the folder where transformers only says what is wrong in it."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise BadInput(f"transformers cannot load the model in {path}: {_first_line(error)}") from error


def _load_target(path: Path, dtype: torch.dtype, device: str, overrides: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    with _explained(path):
        config = AutoConfig.from_pretrained(path, local_files_only=True)
    with experts_left_out(config):
        return load_model(path, dtype, device, overrides)


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    if not (folder / "tokenizer.json").is_file():
        raise BadInput(f"tokenizer {folder / 'tokenizer.json'} is missing; check `model.tokenizer`")
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the libraries raise nothing narrower
        raise BadInput(f"the tokenizer in {folder} cannot be read ({_first_line(error)}); restore it") from error


def load_model(path: Path, dtype: torch.dtype, device: str, overrides: dict[str, Any] | None = None) -> Any:
    """Load a causal language model of transformers for inference; `overrides` replace values of its config."""
    from transformers import AutoModelForCausalLM

    with _quietly(), _explained(path):
        model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, local_files_only=True, **(overrides or {}))
    return model.to(device).eval()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _bytes(model: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())
