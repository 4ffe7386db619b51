"""What `conf/` says of a model and of a system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """`conf/model/*.yaml`. Paths are relative to the repository root or absolute; `hub:` ids are never fetched here.

    `store` is where experts live: `ram` (a slab in host memory), `pack` (one aligned file next to
    `cache_dir`, rebuilt when stale) or `checkpoint` (byte ranges of the original safetensors). `top_k` is how many
    experts a token uses, where it is not to be the model's own number.
    """

    name: str
    target: str
    draft: str | None
    tokenizer: str
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    store: Literal["ram", "pack", "checkpoint"] = "ram"
    cache_dir: str = ".cache/experts"
    top_k: int | None = None
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class SystemConfig:
    """`conf/system/*.yaml`: parts chosen by name, each with its own options (DESIGN: a system is a composition).

    Every part is a mapping with the key `part`; the other keys are the options of that part. `engine` is
    `composed`, made of the other parts, or the name of a peer, which has none.
    """

    name: str
    source: str
    lossless: bool = True
    drafter: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    predictor: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    prefetch: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    residency: Mapping[str, Any] = field(default_factory=lambda: {"part": "lru"})
    placement: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    transfer: Mapping[str, Any] = field(default_factory=lambda: {"part": "beside"})
    gating: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    attention: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    engine: Mapping[str, Any] = field(default_factory=lambda: {"part": "composed"})
