"""Every Mixture-of-Experts family of the installed transformers: does it run here exactly, or is it refused, and why?

    python -m models.moe_families    # writes docs/families.md

Each is made as a tiny checkpoint with random weights, loaded, and decoded by several systems, alone and in a batch,
over texts that are longer than its windows. What comes out must be what stock `generate` writes.
"""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from models.tiny_configs import VOCABULARY, WINDOW, tiny_config
from systems.api import (
    BadInput,
    Costs,
    HostCosts,
    LinkSpec,
    ModelConfig,
    NullMeter,
    Request,
    SystemConfig,
    build_system,
    load_pair,
)

DOCUMENT = Path(__file__).parents[1] / "docs" / "families.md"
SYSTEMS = {
    "offload": SystemConfig("offload", "", residency={"part": "lru", "scope": "layer"}),
    "sd_offload": SystemConfig("sd_offload", "", drafter={"part": "model", "draft_length": 3}),
    "sp_moe": SystemConfig(
        "sp_moe",
        "",
        drafter={"part": "model", "draft_length": 2},
        predictor={"part": "draft_attention"},
        prefetch={"part": "cutoff", "cutoff": 4},
    ),
    "adapmoe": SystemConfig(
        "adapmoe", "", predictor={"part": "next_gate", "when": "always"}, prefetch={"part": "next_layers", "depth": 2}
    ),
}
BATCHES = dict.fromkeys(SYSTEMS, (1, 3))
"""Rows at once by system."""
LENGTHS = (5, 11, 21)
"""Tokens of the prompts: within the window of `tiny_config`, and beyond it."""
NEW = 5
_COSTS = Costs({1: 1e-3, 3: 1.5e-3}, {1: 5e-4}, 1e-3, 1e-5, HostCosts(2e-4))
_LINK = LinkSpec(1e9, 0.0, virtual=True)


@dataclass(frozen=True)
class Verdict:
    """What becomes of a family.

    Attributes:
        exact: systems whose tokens are those of stock `generate`.
        wrong: systems whose tokens are not.
        refused: what was said; by system where only some are refused, under "" where the family is.
        reads: how a verification is read.
    """

    family: str
    exact: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    reads: str = "-"

    @property
    def word(self) -> str:
        """`exact`, `refused`, or `WRONG`, which no family may be."""
        return "WRONG" if self.wrong else "refused" if "" in self.refused or not self.exact else "exact"

    def line(self) -> str:
        """Return the row of the table."""
        said = "; ".join(f"{system}: {text}" if system else text for system, text in self.refused.items())
        return f"| {self.family} | {self.word} | {', '.join(self.exact) or '-'} | {self.reads} | {said} |"


def families() -> list[str]:
    """Return the `model_type` of each family of causal language models of transformers that has experts."""
    from transformers import AutoModelForCausalLM

    found: dict[Any, str] = {}
    for config, model in AutoModelForCausalLM._model_mapping.items():
        module = importlib.import_module(model.__module__)
        names = [name for name, item in vars(module).items() if isinstance(item, type) and _experts(name, item, module)]
        if names and not _composite(config):
            found.setdefault(model, config.model_type)
    return sorted(found.values())


def _experts(name: str, item: type, module: Any) -> bool:
    """Whether a class of a model's module is a body of experts, by what families call theirs."""
    return item.__module__ == module.__name__ and (name.endswith(("Experts", "MoE")) or hasattr(item, "_apply_gate"))


def _composite(config: Any) -> bool:
    """Whether a config is of a model of several modalities, whose language model is a family of its own."""
    return "text_config" in getattr(config, "sub_configs", {})


def save(folder: Path, family: str) -> None:
    """Save a pair: a random target of the family, and a dense draft as deep and as wide."""
    from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = tiny_config(family)
    text = config.get_text_config()
    target = AutoModelForCausalLM.from_config(config)
    _perturb(target)
    target.save_pretrained(folder / "target")
    torch.manual_seed(1)
    dense = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 24}
    shared = {name: getattr(text, name) for name in ("hidden_size", "num_hidden_layers", "vocab_size")}
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    draft = MistralConfig(**dense, **shared, **ends, sliding_window=None, initializer_range=0.3)
    MistralForCausalLM(draft).save_pretrained(folder / "draft")
    _save_tokenizer(folder)


def _perturb(model: Any) -> None:
    """Move what is initialised to zeros or ones, so that leaving it out would be seen."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and tensor.dim() == 1 and ("bias" in name or "norm" in name):
            tensor.data += 0.1 * torch.randn(tensor.shape)


def _save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {chr(ord("a") + token): token for token in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="a").save_pretrained(folder)


def judge(family: str, folder: Path, batches: Mapping[str, Sequence[int]] = BATCHES) -> Verdict:
    """Say what becomes of a family, made in an empty folder, when each system decodes so many rows at once."""
    save(folder, family)
    try:
        pair: Any = load_pair(ModelConfig(family, "target", "draft", "."), folder)
    except BadInput as error:
        return Verdict(family, refused={"": str(error).replace(str(folder), "...")})
    from systems.modeling.decoder import at_once

    verdict = Verdict(family, reads="at once" if at_once(pair.target) else "token by token")
    generator = torch.Generator().manual_seed(0)
    prompts = [tuple(torch.randint(VOCABULARY, (length,), generator=generator).tolist()) for length in LENGTHS]
    expected = list(_stock(folder / "target", prompts))
    for name, system in SYSTEMS.items():
        try:
            found = [_decode(system, pair, prompts, rows) for rows in batches[name]]
        except BadInput as error:
            verdict.refused[name] = str(error)
        else:
            (verdict.exact if all(tokens == expected for tokens in found) else verdict.wrong).append(name)
    pair.close()
    return verdict


@torch.inference_mode()
def _stock(folder: Path, prompts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, experts_implementation="eager"
    ).eval()
    for prompt in prompts:
        tokens = torch.tensor([prompt])
        output = model.generate(
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=NEW, do_sample=False, pad_token_id=0
        )
        yield output[0, len(prompt) :].tolist()


def _decode(system: SystemConfig, pair: Any, prompts: Sequence[tuple[int, ...]], rows: int) -> list[list[int]]:
    budget = pair.draft_bytes + pair.num_layers * (pair.num_experts // 2) * pair.record_bytes
    built = build_system(system, pair, budget, _LINK, _COSTS)
    try:
        meter = NullMeter([NEW] * len(prompts))
        built.generate([Request(str(i), prompt, NEW) for i, prompt in enumerate(prompts)], meter, rows)
        return list(meter.tokens)
    finally:
        built.close()


def document(verdicts: Sequence[Verdict]) -> str:
    """Return the text of `docs/families.md`."""
    import transformers

    from systems.modeling.adapters import ADAPTERS

    exact = sum(verdict.word == "exact" for verdict in verdicts)
    rows = " and ".join(map(str, next(iter(BATCHES.values()))))
    return f"""# Mixture-of-Experts families

Written by `python -m models.moe_families`; transformers {transformers.__version__} has {len(verdicts)} families of
causal language models with experts. {exact} of them run here, and give exactly the tokens of stock `generate` (tiny
random checkpoints in float32, prompts of {", ".join(map(str, LENGTHS))} tokens over windows of {WINDOW}, {NEW} new
tokens). The others are refused when they are loaded. Systems: {", ".join(f"`{name}`" for name in SYSTEMS)}, each at
batches of {rows}.

*Reads* says how a verification reads its tokens: by one forward at once, or one after the other where a family keeps
more of a text than the runtime's own cache knows, so that drafting saves no forward there.

Experts of {len(ADAPTERS)} families have an adapter ({", ".join(ADAPTERS)}); the others need none.

| family | verdict | exact with | reads | refused |
| --- | --- | --- | --- | --- |
{chr(10).join(verdict.line() for verdict in verdicts)}
"""


def main() -> int:
    """Judge all families, or those named, and write the document; 1 where one is wrong."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    verdicts = []
    for family in sys.argv[1:] or families():
        folder = Path(tempfile.mkdtemp())
        try:
            verdicts.append(judge(family, folder))
        finally:
            shutil.rmtree(folder)
        sys.stdout.write(f"{verdicts[-1].line()}\n")
        sys.stdout.flush()
    if not sys.argv[1:]:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(document(verdicts), encoding="utf-8")
    return int(any(verdict.wrong for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
