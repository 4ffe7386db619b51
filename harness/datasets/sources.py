"""Where a dataset's file is: in a package, in the hub's cache, or where `dataset.path` points.

Nothing is fetched unless the user lifts `HF_HUB_OFFLINE`: what is not here is an error with the command that
fetches it, and never something else in its place.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from harness.datasets.reading import SUFFIXES
from harness.datasets.spec import Generated, Hub, Own, Package, Spec
from systems.api import BadInput

Place = Literal["generated", "package", "cached", "yours", "not here"]


def locate(spec: Spec, path: str | None) -> Path:
    """Return the file of a dataset that has one; `path` is `dataset.path`.

    Raises:
        BadInput: it is not here, or not the pinned one.
    """
    source = spec.source
    if path is not None:
        return _given(Path(path), source.file if isinstance(source, Hub) else None)
    if isinstance(source, Own):
        raise BadInput(f"dataset={spec.name} needs `dataset.path=FILE`")
    assert not isinstance(source, Generated)
    found = _packaged(source) if isinstance(source, Package) else _downloaded(source)
    if found is None:
        raise BadInput(
            f"dataset={spec.name} is not on this machine; get it once with `{source.command}`,"
            " or give a local folder or file with `dataset.path=...`"
        )
    if source.sha256 is not None and (digest := _sha256(found)) != source.sha256:
        raise BadInput(f"{found} is not the pinned file: its SHA-256 is {digest}, not {source.sha256}; get it again")
    return found


def place(spec: Spec) -> tuple[Place, str]:
    """Return where a dataset is here and now, and the command or override that is missing."""
    source = spec.source
    if isinstance(source, Generated):
        return "generated", ""
    if isinstance(source, Own):
        return "yours", "dataset.path=FILE"
    if isinstance(source, Package):
        return ("package", "") if _packaged(source) else ("not here", source.command)
    return ("cached", "") if _cached(source) else ("not here", source.command)


def hub_download(source: Hub) -> str:
    """Return the path of a hub's file, from the cache or, where the environment allows, from the network."""
    from huggingface_hub import hf_hub_download

    return str(hf_hub_download(source.repo, source.file, repo_type="dataset", revision=source.revision))


def _downloaded(source: Hub) -> Path | None:
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled

    try:
        return Path(hub_download(source))
    except (EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled):
        return None


def _cached(source: Hub) -> bool:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source.repo, source.file, revision=source.revision, repo_type="dataset")
    return isinstance(found, str)


def _packaged(source: Package) -> Path | None:
    found = find_spec(source.module)
    folders = found.submodule_search_locations if found else None
    return Path(folders[0]) / source.file if folders else None


def _given(path: Path, name: str | None) -> Path:
    """Return the file meant by `dataset.path`: itself, or in a folder the one of the hub's name, or the only one."""
    if not path.is_dir():
        return path
    if name is not None and (path / name).is_file():
        return path / name
    files = sorted(file for file in path.rglob("*") if file.name.endswith(SUFFIXES) and file.is_file())
    if len(files) != 1:
        wanted = f"`{name}` or exactly one" if name else "exactly one"
        shown = ", ".join(str(file.relative_to(path)) for file in files[:5]) or "none"
        raise BadInput(f"{path} must hold {wanted} data file ({' '.join(SUFFIXES)}); there are: {shown}")
    return files[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
