"""Looking at a model folder without loading it: what it is, and which systems can use it."""

from __future__ import annotations

import importlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from systems.compose.options.drafters import ModelDrafterOptions, QuantisedSelfOptions
from systems.compose.options.prefetching import ActivationMatrixOptions, DraftAttentionOptions
from systems.compose.options.residency import Int4Options
from systems.compose.parts import Options, part
from systems.contract.config import SystemConfig
from systems.contract.errors import BadInput
from systems.contract.folder_report import FolderReport
from systems.files.model_files import check_config, read_config
from systems.files.quantisation import method
from systems.files.vocabulary import check_tokenizers
from systems.files.weight_files import checkpoint_files, read_header
from systems.peers.options import AccelerateOffloadOptions, TransformersAssistedOptions

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts")
TOP_K = ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_top_k", "moe_k")
WIDTHS = ("moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size")
"""What the configs of families call the same number, the most telling name first."""
_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h)\.(\d+)\.")
_OF_EXPERT = re.compile(r"(?<!shared_)experts\.(?:(\d+)\.)?")
PLAIN = ("F64", "F32", "F16", "BF16")


def inspect_folder(folder: Path, target: Path | None = None) -> FolderReport:
    """Report on a folder, whatever is wrong with it.

    Args:
        target: the folder of the target that it is to be the draft of; None: of none.

    Raises:
        BadInput: there is no such folder.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder")
    problems: list[str] = []
    try:
        plain = read_config(folder)
        check_config(folder)
        if target is not None:
            check_tokenizers(target, folder)
    except BadInput as error:
        return FolderReport(problems=(str(error),), **_texts(folder))
    config = _config(folder, problems)
    numbers: dict[str, Any] = _numbers(config)
    tensors = _Tensors(numbers["layers"], numbers["experts"])
    try:
        for file in checkpoint_files(folder):
            for name, entry in read_header(file)[0].items():
                tensors.add(name, entry)
    except BadInput as error:
        problems.append(str(error))
    numbers["experts"] = numbers["experts"] or tensors.most_experts
    if config is not None:
        problems += _unknown(config, tensors)
    return FolderReport(
        family=str(plain.get("model_type", "")),
        moe_layers=len(tensors.moe_layers),
        expert_bytes=tensors.expert_bytes,
        other_bytes=tensors.other_bytes,
        unread_bytes=tensors.unread_bytes,
        expert_weights=tensors.expert_weights if method(plain) is None else 0,
        dtypes=tuple(sorted(tensors.dtypes.items())),
        quantised=method(plain),
        problems=tuple(problems),
        **numbers,
        **_texts(folder),
    )


def unsuited(
    config: SystemConfig, target: FolderReport, draft: FolderReport | None, activations: bool = False
) -> str | None:
    """Return why a system cannot use a target, and a draft where there is one; None: it can.

    Args:
        activations: whether activation matrices of the target were collected.
    """
    if target.refusals:
        return "the target cannot be run"
    options = Options.of(config)
    engine = part("engine", config.engine)
    if isinstance(engine, AccelerateOffloadOptions) and find_spec("accelerate") is None:
        return "needs accelerate: pip install 'spmoe-bench[peers]'"
    if isinstance(options.drafter, ModelDrafterOptions) or isinstance(engine, TransformersAssistedOptions):
        if draft is None:
            return "needs a draft of the same vocabulary: model.draft=FOLDER"
        if draft.problems:
            return f"the draft cannot be used: {draft.problems[0]}"
        if isinstance(options.predictor, DraftAttentionOptions):
            ours, theirs = (target.layers, target.hidden), (draft.layers, draft.hidden)
            if ours != theirs:
                wanted = f"needs a draft of {ours[0]} layers and {ours[1]} hidden units"
                return f"{wanted}; this one has {theirs[0]} and {theirs[1]}"
    predictor = options.predictor
    if isinstance(predictor, ActivationMatrixOptions) and predictor.traces == "model" and not activations:
        return "needs activation matrices of this model: python -m harness activations collects them"
    return _indivisible(options, target)


def _indivisible(options: Options, target: FolderReport) -> str | None:
    copies = next(
        (o for o in (options.drafter, options.residency) if isinstance(o, QuantisedSelfOptions | Int4Options)), None
    )
    if copies is None or not (target.hidden % copies.group or target.intermediate % copies.group):
        return None
    widths = f"{target.hidden} and {target.intermediate}"
    return f"makes INT4 copies in groups of {copies.group} weights, which widths of {widths} do not divide into"


@dataclass
class _Tensors:
    """Sums over the tensors of a checkpoint of so many layers and experts a layer (0: unknown)."""

    layers: int
    experts: int
    most_experts: int = 0
    expert_bytes: int = 0
    other_bytes: int = 0
    unread_bytes: int = 0
    expert_weights: int = 0
    moe_layers: set[int] = field(default_factory=set)
    dtypes: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, entry: Mapping[str, Any]) -> None:
        begin, end = entry["data_offsets"]
        layer = _LAYER.search(name)
        if name.startswith("mtp.") or (layer is not None and 0 < self.layers <= int(layer[1])):
            self.unread_bytes += end - begin
            return
        self.dtypes[entry["dtype"]] += end - begin
        number = self._expert(name, entry["shape"]) if layer is not None else None
        if number is None or layer is None:
            self.other_bytes += end - begin
            return
        self.moe_layers.add(int(layer[1]))
        self.most_experts = max(self.most_experts, number)
        self.expert_bytes += end - begin
        self.expert_weights += math.prod(entry["shape"])

    def _expert(self, name: str, shape: list[int]) -> int | None:
        """Return how many experts a tensor shows there to be, at least; None: it is of no routed expert.

        Either its name has an expert's number, or it holds all of them, one behind the other.
        """
        match = _OF_EXPERT.search(name)
        if match is not None and match[1] is not None:
            return int(match[1]) + 1
        fused = bool(shape) and shape[0] == self.experts and (match is not None or len(shape) > 2)
        return self.experts if fused else None


def _config(folder: Path, problems: list[str]) -> Any:
    """Return the config as transformers reads it; None, and a problem more, if it cannot."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # odd values make the library raise whatever they run into
        problems.append(f"transformers cannot read {folder / 'config.json'}: {str(error).splitlines()[0]}")
        return None


def _numbers(config: Any) -> dict[str, int]:
    """Return the numbers of a config by the names of a report; 0 where it has none."""
    text = config.get_text_config() if config is not None else None

    def number(*names: str) -> int:
        found = (getattr(text, name, None) for name in names)
        return next((value for value in found if isinstance(value, int)), 0)

    return {
        "layers": number("num_hidden_layers"),
        "experts": number(*EXPERTS),
        "top_k": number(*TOP_K),
        "hidden": number("hidden_size"),
        "intermediate": number(*WIDTHS),
        "vocabulary": number("vocab_size"),
        "context": number("max_position_embeddings"),
    }


def _unknown(config: Any, tensors: _Tensors) -> Iterator[str]:
    """Say why the model's code is none that decodes, or none that experts can be taken out of."""
    from transformers import AutoModelForCausalLM

    if type(config) not in AutoModelForCausalLM._model_mapping:
        yield f"transformers has no causal language model of the family {config.model_type}"
        return
    module = importlib.import_module(AutoModelForCausalLM._model_mapping[type(config)].__module__)
    if tensors.expert_bytes and not any(
        name.endswith("Experts") and isinstance(item, type) for name, item in vars(module).items()
    ):
        yield f"in transformers the family {config.model_type} keeps its experts in no class of their own"


def _texts(folder: Path) -> dict[str, Any]:
    """What the folder, or the one above, says of texts."""
    places = [place for place in (folder, folder.parent) if (place / "tokenizer.json").is_file()]
    if not places:
        return {"tokens": None, "chat": False}
    try:
        known = Tokenizer.from_file(str(places[0] / "tokenizer.json")).get_vocab()
        settings = places[0] / "tokenizer_config.json"
        plain = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    except Exception:  # the library raises nothing narrower; loading says what is wrong
        return {"tokens": None, "chat": False}
    chat = (places[0] / "chat_template.jinja").is_file() or bool(plain.get("chat_template"))
    return {"tokens": len(known), "chat": chat}
