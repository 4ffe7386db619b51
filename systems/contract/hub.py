"""Models of the Hugging Face hub by name: where they lie on this machine, and how to get them.

A name reads `hf://OWNER/NAME@REVISION`, as in `huggingface_hub`'s file system. Nothing is fetched here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"hf://([\w.-]+)/([\w.-]+)(?:@([\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
UNWANTED = ("original/*", "metal/*", "consolidated*", "*.pt", "*.pth", "*.bin", "*.gguf", "*.onnx")
"""Other forms of the same weights that some repositories hold: several times what is read."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model repository of the hub at a revision: a commit, which fixes its content, or a branch."""

    owner: str
    name: str
    revision: str = "main"

    @classmethod
    def named(cls, text: str) -> HubModel | None:
        """Return the model that a name of the form above stands for; None: it is a path."""
        match = _NAME.fullmatch(text)
        return None if match is None else cls(match[1], match[2], match[3] or "main")

    @property
    def repo(self) -> str:
        """Its id on the hub."""
        return f"{self.owner}/{self.name}"

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit."""
        return _COMMIT.fullmatch(self.revision) is not None

    def folder(self, root: Path | None) -> Path:
        """Return where the model is: below `root`, where models lie by name, or in the hub's cache.

        Where it is in neither, return the folder that `command` fills: it is not there.
        """
        places = list(self._places(root))
        return next((place for place in places if place.is_dir()), places[0])

    def command(self, root: Path | None) -> str:
        """Return what downloads it, once, to where `folder` looks."""
        unwanted = " ".join(f"--exclude '{pattern}'" for pattern in UNWANTED)
        place = "" if root is None else f" --local-dir '{root / self.name}'"
        return f"hf download {self.repo} --revision {self.revision} {unwanted}{place}"

    def _places(self, root: Path | None) -> Iterator[Path]:
        if root is not None:
            yield root / self.name
            yield root / self.owner / self.name
            yield self._snapshot(root)
            if root.name == self.name:
                yield root
        yield self._snapshot(cache())

    def _snapshot(self, hub: Path) -> Path:
        """Return the folder of the revision in a cache of the hub; a branch leads to the commit that it was then."""
        home = hub / f"models--{self.owner}--{self.name}"
        reference = home / "refs" / self.revision
        commit = reference.read_text().strip() if reference.is_file() else self.revision
        return home / "snapshots" / commit


def cache() -> Path:
    """Return the folder of the hub's cache, by the environment variables that `huggingface_hub` reads."""
    home = os.environ.get("HF_HOME") or str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    names = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
    chosen = next((os.environ[name] for name in names if os.environ.get(name)), str(Path(home) / "hub"))
    return Path(os.path.expandvars(chosen)).expanduser()
