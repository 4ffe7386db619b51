"""Weights kept in half their bytes: matrices as int8, with a scale for every so many columns of a row.

A folder with `compact.safetensors` holds a model as any other does, once it is unfolded: beside it, or in the user's
cache where the folder cannot be written. Only the first use of a folder does anything.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from systems.contract.errors import BadInput
from systems.files.hashing import content_hash

if TYPE_CHECKING:
    from torch import Tensor

COMPACT, PLAIN = "compact.safetensors", "model.safetensors"
SCALES = ".scales"
"""What the name of a matrix ends with where its scales are stored: `[rows, groups of columns]`, bf16."""
UNFOLDED = ".unfolded"


def is_compact(folder: Path) -> bool:
    """Whether a folder's weights are compact; where plain ones lie beside them, those are meant."""
    return (folder / COMPACT).is_file() and not (folder / PLAIN).exists()


def unfolded(folder: Path) -> Path:
    """Return the folder with the plain weights of `folder`: itself, unless its weights are compact.

    Raises:
        BadInput: the compact weights cannot be read, or there is no place to unfold them.
    """
    if not is_compact(folder):
        return folder
    name = content_hash(folder / COMPACT)[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    places = [folder / UNFOLDED / name, cache / "spmoe-bench" / "weights" / name]
    ready = next((place for place in places if (place / PLAIN).is_file()), None)
    return ready or _unfold(folder, places)


def _unfold(folder: Path, places: list[Path]) -> Path:
    """Write the plain folder to the first place that takes it; a process that does the same meanwhile is no harm."""
    refused: OSError | None = None
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place.parent) as work:
                made = Path(work) / "made"
                made.mkdir()
                for file in folder.glob("*.json"):
                    shutil.copyfile(file, made / file.name)
                _write_plain(folder / COMPACT, made / PLAIN)
                made.rename(place)
        except OSError as error:
            refused = error
        if (place / PLAIN).is_file():  # made here, or by another process that was first
            return place
    raise BadInput(f"the weights of {folder} cannot be unfolded ({refused}); name a folder for it in XDG_CACHE_HOME")


def _write_plain(source: Path, target: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    try:
        stored = load_file(source)
    except SafetensorError as error:
        raise BadInput(f"weights file {source} is corrupted ({error}); restore it") from error
    plain = {name: tensor for name, tensor in stored.items() if not name.endswith(SCALES)}
    for name, whole in plain.items():
        if (scales := stored.get(name + SCALES)) is not None:
            plain[name] = scaled(whole, scales)
    try:
        save_file(plain, target, metadata={"format": "pt"})
    except SafetensorError as error:  # of the disk: what is written is sound
        raise OSError(str(error)) from error


def scaled(whole: Tensor, scales: Tensor) -> Tensor:
    """Return int8 `whole` `[rows, columns]` times `scales` `[rows, groups]` in bf16: one product and one rounding each,
    the same on every machine."""
    groups = whole.float().unflatten(1, (scales.shape[1], -1))
    products: Tensor = groups * scales.float()[..., None]
    return products.flatten(1).bfloat16()
