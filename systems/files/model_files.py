"""The files of a pair apart from what its weights compute: whether they are whole, which they are, the tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer

from systems.contract.config import ModelConfig
from systems.contract.errors import BadInput
from systems.files.chat import ChatTemplate, wanted
from systems.files.compact import COMPACT, is_compact
from systems.files.hashing import content_hash
from systems.files.quantisation import check_quantisation
from systems.files.weight_files import checkpoint_files, read_header

CHECKSUMS = "SHA256SUMS"
TOP_K = "num_experts_per_tok"
CHAT = "chat.json"
"""The chat template beside the tokenizer of a recording."""


class Tokenized:
    """A model as far as texts go: what a loaded pair and a recorded one have in common.

    Args:
        tokenizer: the part of a transformers tokenizer that does the work, and can be kept beside a recording.
        template: its chat template, if it has one.
        chat: as `model.chat`.

    Raises:
        BadInput: `chat` is true without a template.
    """

    def __init__(
        self, tokenizer: Tokenizer, template: ChatTemplate | None = None, chat: bool | Literal["auto"] = "auto"
    ) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer, self._template = tokenizer, template
        self._chat = wanted(chat, template)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return list(self._tokenizer.encode(text).ids)

    def prompt(self, text: str) -> list[int]:
        """Token ids of a dataset's prompt: of the text, or of a chat model's message with that text."""
        if self._chat is None:
            return self.encode(text)
        return list(self._tokenizer.encode(self._chat.render(text), add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int], after: Sequence[int] = ()) -> str:
        """Text of token ids as it reads behind those of `after`, special tokens skipped.

        Both are decoded together and cut: many decoders drop the space that a text begins with (SentencePiece), join
        what belongs together (WordPiece, bytes of one character), and so read the same tokens otherwise alone. A
        character whose bytes lie on both sides is given whole.
        """
        whole, before = self._text([*after, *tokens]), self._text(after) if after else ""
        border = next((at for at, pair in enumerate(zip(whole, before, strict=False)) if len(set(pair)) > 1), None)
        return whole[min(len(whole), len(before)) if border is None else border :]

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    @property
    def tokenizer_hash(self) -> str:
        """Start of the SHA-256 of all that decides what texts become."""
        return hashlib.sha256(self._tokenizer.to_str(pretty=False).encode()).hexdigest()[:16]

    @property
    def chat_hash(self) -> str | None:
        """Start of the SHA-256 of how prompts are worded; None: as they are."""
        return None if self._chat is None else self._chat.hash

    def save_tokenizer(self, file: Path) -> None:
        """Write what `Tokenizer.from_file` reads, and beside it the chat template, if there is one."""
        self._tokenizer.save(str(file), pretty=False)
        if self._template is None:
            (file.parent / CHAT).unlink(missing_ok=True)
        else:
            (file.parent / CHAT).write_text(self._template.dump(), encoding="utf-8")


def check_top_k(config: ModelConfig, experts: int) -> None:
    """Refuse more experts per token than a layer has.

    Raises:
        BadInput: `model.top_k` is out of range.
    """
    if config.top_k is not None and not 1 <= config.top_k <= experts:
        raise BadInput(f"`model.top_k` is {config.top_k}; a token can use 1 to {experts} experts of a layer")


def overrides(config: ModelConfig, experts: int, own: Any) -> dict[str, Any]:
    """Return what replaces values of a target's own config.

    Raises:
        BadInput: as `check_top_k`, or a family that names experts per token otherwise.
    """
    check_top_k(config, experts)
    if config.top_k is not None and not hasattr(own, TOP_K):
        raise BadInput(f"`model.top_k` replaces `{TOP_K}`, which the config of {own.model_type} does not have")
    return {} if config.top_k is None else {TOP_K: config.top_k}


def verify(folder: Path) -> None:
    """Check that a folder's weights are complete, and equal to its checksums where it has some.

    Raises:
        BadInput: a file is missing, truncated or corrupted.
    """
    files = [folder / COMPACT] if is_compact(folder) else checkpoint_files(folder)
    for file in files:
        read_header(file)
    sums = folder / CHECKSUMS
    if not sums.is_file():
        return
    expected = _checksums(sums)
    for file in files:
        if content_hash(file) != expected.get(file.name):
            raise BadInput(f"weights file {file} is corrupted (its SHA-256 is not that of {sums}); restore it")


def _checksums(sums: Path) -> dict[str, str]:
    """Return SHA-256 by name, as `sha256sum` writes them: a star before the name of a file that was read as bytes."""
    try:
        pairs = [line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines() if line.strip()]
        return {name.strip().removeprefix("*"): digest for digest, name in pairs}
    except (ValueError, OSError) as error:
        raise BadInput(f"{sums} cannot be read ({error}); `sha256sum *.safetensors` writes such a file") from error


def check_config(folder: Path) -> None:
    """Refuse a model folder whose `config.json` does not say what model it is, or says that it is quantised.

    Raises:
        BadInput: it is missing, no JSON, or names no kind of model that transformers knows; or as
            `check_quantisation`.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    found = read_config(folder)
    kind = found.get("model_type")
    if kind not in CONFIG_MAPPING:
        file = folder / "config.json"
        raise BadInput(f"{file}: `model_type` is {kind!r}, which this version of transformers does not know")
    check_quantisation(folder, found)


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of a model folder's `config.json`, none where it is not an object.

    Raises:
        BadInput: it is missing or no JSON.
    """
    file = folder / "config.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{file} cannot be read ({error.strerror}); a model folder of transformers has one") from error
    except ValueError as error:
        raise BadInput(f"{file} is not JSON ({error}); restore it") from error
    return found if isinstance(found, dict) else {}


def fingerprint(folder: Path) -> dict[str, str]:
    """Return the start of the SHA-256 of each weights file of a folder.

    Raises:
        BadInput: one is missing.
    """
    return {file.name: content_hash(file)[:16] for file in checkpoint_files(folder)}
