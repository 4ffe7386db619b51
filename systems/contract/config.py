"""What `conf/` says of a model and of a system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """`conf/model/*.yaml`. Paths are absolute, or relative to the project's folder or the current one (`located`); hub
    ids are never fetched here.

    An empty `name` becomes that of the target's folder, so that no table calls a model what it is not. Without
    `tokenizer` it is the target's own: that of its folder, else of the one above, where a pair keeps what it shares.

    `store` is where experts live: `ram` (a slab in host memory), `pack` (one aligned file next to
    `cache_dir`, rebuilt when stale) or `checkpoint` (byte ranges of the original safetensors). `top_k` is how many
    experts a token uses, where it is not to be the model's own number. `activations` is the file of activation
    matrices that `python -m harness.activations` collected, if there is one.
    """

    name: str
    target: str
    draft: str | None
    tokenizer: str | None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    store: Literal["ram", "pack", "checkpoint"] = "ram"
    cache_dir: str = ".cache/experts"
    top_k: int | None = None
    device: str = "cpu"
    activations: str | None = None

    def __post_init__(self) -> None:
        if not self.name:
            folders = [part for part in PurePath(self.target).parts if part.strip("/.")] or [self.target]
            named = folders[-2] if folders[-1] == "target" and len(folders) > 1 else folders[-1]
            object.__setattr__(self, "name", named)

    def tokenizer_folder(self, root: Path) -> Path:
        """Return the folder of the tokenizer; `root` as in `located`."""
        if self.tokenizer is not None:
            return located(self.tokenizer, root)
        own = located(self.target, root)
        return (
            own if (own / "tokenizer.json").is_file() or not (own.parent / "tokenizer.json").is_file() else own.parent
        )


def located(path: str, root: Path) -> Path:
    """Return where a path of a config leads: below `root`, or below the current folder if it is only there."""
    here = Path.cwd() / path
    return here if here.exists() and not (root / path).exists() else root / path


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
    governor: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    predictor: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    prefetch: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    residency: Mapping[str, Any] = field(default_factory=lambda: {"part": "lru"})
    placement: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    transfer: Mapping[str, Any] = field(default_factory=lambda: {"part": "beside"})
    gating: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    attention: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    engine: Mapping[str, Any] = field(default_factory=lambda: {"part": "composed"})
