"""What a recording knows of the models that it was made from: their numbers and their tokenizer, not their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from systems.contract.config import ModelConfig
from systems.contract.errors import BadInput
from systems.contract.pair import ModelPair
from systems.files.chat import ChatTemplate
from systems.files.model_files import CHAT, Tokenized, check_top_k, fingerprint
from systems.replay.store import TraceFolder
from systems.replay.trace import Header
from systems.runtime import activation_file
from systems.runtime.activation_file import Stored


class RecordedPair(Tokenized):
    """`systems.contract.pair.ModelPair` over a recording; neither weights nor configs are loaded.

    `describe` tells which weights are in the folders now, so that a recording of others can be told. Where there are no
    folders, a model of the recorded name is taken to be the recorded one.

    Args:
        root: what the paths of the config are relative to, see `located`.
        tokenizer: as `Tokenized.save_tokenizer` wrote it.

    Raises:
        BadInput: the tokenizer is broken, a file of weights is missing, or `model.top_k` is out of range.
    """

    device = "cpu"

    def __init__(self, config: ModelConfig, root: Path, header: Header, tokenizer: Path) -> None:
        super().__init__(_read(tokenizer), _template(tokenizer.parent / CHAT), config.chat)
        check_top_k(config, header.experts)
        facts, numbers = header.facts, header.numbers
        self.name = config.name
        self.vocab_size, self.context_length = numbers["vocab_size"], numbers["context_length"]
        self.top_k = config.top_k or numbers["own_top_k"]
        self.num_layers, self.num_experts = header.layers, header.experts
        self.record_bytes = header.record_bytes
        self.expert_bytes = header.expert_bytes
        self.draft_bytes: int = facts["draft_bytes"]
        self.non_expert_bytes: int = facts["non_expert_bytes"]
        self.stop_tokens = frozenset(header.stop_tokens)
        here = {
            "name": config.name,
            "dtype": config.dtype,
            "store": config.store,
            "operators": config.operators,
            "top_k": self.top_k,
        }
        here |= {"tokenizer": self.tokenizer_hash, "chat": self.chat_hash}
        self._facts = facts | here
        self._activations = None if config.activations is None else root / config.activations
        for role, folder in (("target", config.target), ("draft", config.draft)):
            if folder and (place := config.folder(folder, root)).is_dir():
                self._facts[role] = fingerprint(place)
            elif not folder or config.name != facts["name"]:
                self._facts[role] = None

    @property
    def activations(self) -> Stored | None:
        """Activation matrices that were collected before; see `systems.contract.pair.ModelPair`."""
        return None if self._activations is None else activation_file.load(self._activations, self._facts)

    def describe(self) -> dict[str, Any]:
        """What was recorded, and what the folders hold."""
        return dict(self._facts)

    def close(self) -> None:
        """Nothing is open."""


def recorded_pair(folder: Path, config: ModelConfig, root: Path) -> ModelPair:
    """Return what a recording knows of the pair of a config: all but its weights, which are not loaded.

    Raises:
        BadInput: there is no recording or not all of it, or a file of weights is missing.
    """
    recording = TraceFolder(folder)
    return RecordedPair(config, root, recording.header, recording.tokenizer)


def _read(tokenizer: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(tokenizer))
    except Exception as error:  # the library raises nothing narrower
        raise BadInput(f"{tokenizer} is not a tokenizer ({error}); record again") from error


def _template(file: Path) -> ChatTemplate | None:
    if not file.is_file():
        return None
    try:
        return ChatTemplate.read(file.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file} is not a chat template ({error!r}); record again") from error
