"""Loading a target whose experts stay in slow memory, and its draft."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from systems.contract.config import ModelConfig, located
from systems.contract.errors import BadInput
from systems.contract.pair import ModelPair
from systems.files.chat import ChatTemplate
from systems.files.compact import unfolded
from systems.files.downloading import fetch_models
from systems.files.model_files import Tokenized, check_config, fingerprint, verify
from systems.files.vocabulary import check_tokenizers, end_logits, shared_ids
from systems.modeling.decoder import position_bytes, rotary_limit
from systems.modeling.experts import Arithmetic, ExpertPort, nothing
from systems.modeling.learning import learn, read_along
from systems.modeling.loading import first_line, load_model, load_target
from systems.modeling.offloaded import OffloadedExperts
from systems.modeling.routers import Router, observe
from systems.modeling.skeleton import bind_experts
from systems.operators import grouped
from systems.operators.fusing import fuse
from systems.runtime import activation_file, cuda
from systems.runtime.activation_file import Stored
from systems.store.store import ExpertStore

_UNLIMITED = 1 << 20
"""Positions where a config names no end, as those of recurrences do: more than any prompt has."""


class Pair(Tokenized):
    """A target, its experts' store, its draft and their tokenizer: `systems.contract.pair.ModelPair`.

    One instance serves all systems of a run: `port` decides which system's slots the target reads.
    """

    def __init__(self, config: ModelConfig, target: Any, draft: Any, tokenizer: Path, store: ExpertStore) -> None:
        self.tokenizer = _load_tokenizer(tokenizer)
        super().__init__(self.tokenizer.backend_tokenizer, ChatTemplate.of(self.tokenizer), config.chat)
        self.name, self.config = config.name, config
        self.target, self.draft, self.store = target, draft, store
        self.port = ExpertPort()
        bind_experts(target, self.port)
        self.device = config.device
        self.num_layers, self.num_experts = len(store.shape.layers), store.shape.experts
        self._routers, self.top_k = observe(target, self.port, self.num_layers, self.num_experts)
        self.port.mixer = nothing
        for model in filter(None, (target, draft)):
            learn(model)
            if config.operators != "stock":
                fuse(model, read_along)
        text = target.config.get_text_config()
        self.decoder_layers: int = text.num_hidden_layers
        self.draft_layers: int = draft.config.get_text_config().num_hidden_layers if draft is not None else 0
        self.vocab_size: int = text.vocab_size
        if draft is not None:
            self.vocab_size = shared_ids(target.config, draft.config, self.tokenizer.backend_tokenizer)
            end_logits(draft, self.vocab_size)
        end_logits(target, self.vocab_size)
        self.context_length = _context(text, *([draft.config.get_text_config()] if draft is not None else []))
        self.record_bytes = store.shape.record_bytes(store.dtype)
        self.expert_bytes = self.record_bytes * store.shape.count
        self.non_expert_bytes = _bytes(target)
        self.draft_bytes = _bytes(draft) if draft is not None else 0

    @property
    def routers(self) -> list[Router]:
        """The routers of the target by MoE layer.

        Raises:
            BadInput: the runtime does not know who chooses the experts of some layer.
        """
        known = [router for router in self._routers if router is not None]
        if len(known) < self.num_layers:
            kind = self.target.config.model_type
            raise BadInput(
                f"the routers of {kind} cannot be asked which experts they would choose, which predictors and "
                "recordings need; choose a system without `predictor`, e.g. system=offload or system=sd_offload"
            )
        return known

    @property
    def arithmetic(self) -> Arithmetic:
        """What one expert of the target computes."""
        return next(module.arithmetic for module in self.target.modules() if isinstance(module, OffloadedExperts))

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Ids that end a sequence: those of the generation config, which may be several, and the tokenizer's."""
        ids = self.target.generation_config.eos_token_id
        several = ids if isinstance(ids, list) else [ids]
        return frozenset(number for number in (*several, self.tokenizer.eos_token_id) if number is not None)

    @cached_property
    def activations(self) -> Stored | None:
        """Activation matrices that were collected before; see `systems.contract.pair.ModelPair`."""
        file = self.config.activations
        return None if file is None else activation_file.load(Path(file), self.describe())

    @cached_property
    def position_bytes(self) -> int:
        """Keys and values of one position in the target (bytes)."""
        self.port.mixer = nothing
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
            "chat": self.chat_hash,
            "dtype": self.config.dtype,
            "store": self.config.store,
            "operators": self.config.operators,
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


def loaded(pair: ModelPair) -> Pair:
    """Return a pair as what it is where its models are loaded.

    Raises:
        BadInput: it is a recording's, which has no weights.
    """
    if not isinstance(pair, Pair):
        raise BadInput(f"this runs the models of {pair.name}, and a recording has no weights; leave `replay` out")
    return pair


def load_pair(config: ModelConfig, root: Path) -> ModelPair:
    """Load target, draft and tokenizer, downloaded before where that is asked for.

    Raises:
        BadInput: a file is missing, truncated or corrupted, or draft and target do not match.
    """
    fetch_models(config, root)
    return load(config, root)


def load(config: ModelConfig, root: Path) -> Pair:
    """Load a pair; for paths in `config` and `root` see `located`.

    Raises:
        BadInput: missing, truncated or corrupted files, a draft that does not speak the target's tokens, a device that
            is not there, or operators that this machine does not run.
    """
    cuda.require(config.device)
    dtype: torch.dtype = getattr(torch, config.dtype)
    if config.groups:
        grouped.require(config.device, dtype)
    config.check_here(root)
    target_path, tokenizer_path = config.folder(config.target, root), config.tokenizer_folder(root)
    draft_path = config.folder(config.draft, root) if config.draft else None
    activations = str(located(config.activations, root)) if config.activations else None
    for folder in filter(None, (target_path, draft_path)):
        verify(folder)
        check_config(folder)
    if draft_path is not None:
        check_tokenizers(tokenizer_path, draft_path)
    target_path, draft_path = unfolded(target_path), unfolded(draft_path) if draft_path else None
    config = replace(
        config,
        target=str(target_path),
        draft=str(draft_path) if draft_path else None,
        activations=activations,
        root=None,
        cache_dir=str(root / config.cache_dir),
    )
    target, store = load_target(target_path, config, dtype, Path(config.cache_dir))
    draft = load_model(draft_path, dtype, config.device) if draft_path else None
    return Pair(config, target, draft, tokenizer_path, store)


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    if not (folder / "tokenizer.json").is_file():
        raise BadInput(f"tokenizer {folder / 'tokenizer.json'} is missing; check `model.tokenizer`")
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the libraries raise nothing narrower
        raise BadInput(f"the tokenizer in {folder} cannot be read ({first_line(error)}); restore it") from error


def _bytes(model: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())


def _context(text: Any, *others: Any) -> int:
    """Return the longest text that a target can read, ending before a model turns keys by other frequencies."""
    limits = [rotary_limit(own) for own in (text, *others)]
    longest = getattr(text, "max_position_embeddings", None) or _UNLIMITED
    return min([longest, *(limit for limit in limits if limit is not None)])
