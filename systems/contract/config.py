"""What `conf/` says of a model and of a system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal

from systems.contract.errors import BadInput
from systems.contract.hub import HubModel


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of a published model before it is here; nothing of a run depends on it. Sizes in bytes.

    `disk` is what the target's files take, `experts` what its routed experts do in `dtype` (slow memory), `others` all
    else of it (fast memory), `draft` the draft model (out of the budget). `budget` is a suggestion.
    """

    licence: str
    disk: int
    experts: int
    others: int
    draft: int
    budget: str


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """`conf/model/*.yaml`. Paths are absolute, or relative to the project's folder or the current one (`located`);
    names of the hub (`systems.contract.hub`) lead into its cache, or below `root`, where models lie by name.

    An empty `name` becomes that of the target's folder, so that no table calls a model what it is not. Without
    `tokenizer` it is the target's own: that of its folder, else of the one above, where a pair keeps what it shares.

    `store` is where experts live: `ram` (a slab in host memory), `pack` (one aligned file next to
    `cache_dir`, rebuilt when stale) or `checkpoint` (byte ranges of the original safetensors). `top_k` is how many
    experts a token uses, where it is not to be the model's own number. `activations` is the file of activation
    matrices that `python -m harness activations` collected, if there is one.

    `operators` is how the modules of target and draft compute: `stock`, each by its own, or `fused`, by fewer operators
    where these give the same but for rounding (`systems.operators`). `grouped` is `fused`, and on a CUDA device the
    experts of a few rows are two kernels in Triton (`systems.operators.grouped`); `graphed` is `grouped`, and what lies
    between experts is a graph (`systems.graphs`): neither yet tried on one.

    `chat` says whether a dataset's prompt is a message to the model, in the words of the tokenizer's chat template, or
    a text to continue; `auto`: a message where the tokenizer has a template. `made_by` is the command that makes the
    folders, where they neither ship nor lie on the hub; nothing of a run depends on it.
    """

    name: str
    target: str
    draft: str | None
    tokenizer: str | None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    store: Literal["ram", "pack", "checkpoint"] = "ram"
    cache_dir: str = ".cache/experts"
    top_k: int | None = None
    operators: Literal["fused", "stock", "grouped", "graphed"] = "fused"
    device: str = "cpu"
    activations: str | None = None
    root: str | None = None
    chat: bool | Literal["auto"] = "auto"
    card: ModelCard | None = None
    made_by: str | None = None

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", _name(self.target))
        if self.root is not None and HubModel.named(self.target) is None:
            raise BadInput(f"`model.root` is where models of the hub lie, and `model.target` is a path, {self.target}")

    @property
    def groups(self) -> bool:
        """Whether the experts of a few rows are computed by the kernels of `systems.operators.grouped`."""
        return self.operators in ("grouped", "graphed")

    def folder(self, path: str, root: Path) -> Path:
        """Return where `target`, `draft` or `tokenizer` leads; a model of the hub may not be there."""
        model = HubModel.named(path)
        return located(path, root) if model is None else model.folder(self._models(root))

    def tokenizer_folder(self, root: Path) -> Path:
        """Return the folder of the tokenizer; `root` as in `located`."""
        if self.tokenizer is not None:
            return self.folder(self.tokenizer, root)
        own = self.folder(self.target, root)
        return (
            own if (own / "tokenizer.json").is_file() or not (own.parent / "tokenizer.json").is_file() else own.parent
        )

    def downloads(self, root: Path) -> dict[HubModel, Path]:
        """Return the models of the hub that are named, and where each is or would be."""
        models = [HubModel.named(path) for path in (self.target, self.draft, self.tokenizer) if path]
        return {model: model.folder(self._models(root)) for model in models if model is not None}

    def missing(self, root: Path) -> dict[Path, str | None]:
        """Return the folders of models that are not here, with the command that gets or makes each, if there is one."""
        found: dict[Path, str | None] = {}
        for path in filter(None, (self.target, self.draft, self.tokenizer)):
            model, folder = HubModel.named(path), self.folder(path, root)
            if not folder.is_dir():
                found[folder] = self.made_by if model is None else model.command(self._models(root))
        return found

    def check_here(self, root: Path) -> None:
        """Refuse a model that is not here and that a command gets or makes.

        Raises:
            BadInput: with that command.
        """
        for model, folder in self.downloads(root).items():
            if not folder.is_dir():
                raise BadInput(
                    f"model {model.repo}, revision {model.revision}, is not on this machine ({folder} is missing); get"
                    f" it once with\n  {model.command(self._models(root))}\nor let the run fetch it with"
                    " HF_HUB_OFFLINE=0, or name a folder that holds it with model.root=FOLDER"
                )
        for folder, command in self.missing(root).items():
            if command:
                raise BadInput(
                    f"model folder {folder} does not exist; what {self.name} names is made once with\n  {command}\n"
                    "or check `model.target` and `model.draft`"
                )

    def _models(self, root: Path) -> Path | None:
        return located(self.root, root) if self.root is not None else None


def _name(target: str) -> str:
    """Return what a target without a name is called: as its folder, or as it is on the hub."""
    if (model := HubModel.named(target)) is not None:
        return model.name
    folders = [part for part in PurePath(target).parts if part.strip("/.")] or [target]
    return folders[-2] if folders[-1] == "target" and len(folders) > 1 else folders[-1]


def located(path: str, root: Path) -> Path:
    """Return where a path of a config leads: below `root`, or below the current folder if it is only there."""
    here = Path.cwd() / path
    return here if here.exists() and not (root / path).exists() else root / path


@dataclass(frozen=True, slots=True)
class SystemConfig:
    """`conf/system/*.yaml`: parts chosen by name, each with its own options (see docs/extend.md).

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
