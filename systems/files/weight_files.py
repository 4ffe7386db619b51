"""The safetensors files of a checkpoint folder: which there are, and whether they are whole."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from systems.contract.errors import BadInput
from systems.files.compact import unfolded

OTHER_FORMS = ("*.bin", "*.pth", "*.pt", "*.gguf", "*.msgpack", "*.h5")
"""Files that weights come in besides safetensors."""
_POINTER = b"version "
"""How a file begins that Git LFS keeps in place of a large one; as a length it would be beyond all files."""


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint folder, all present; of a compact one, those of what it unfolds to.

    Raises:
        BadInput: the folder or one of the files it lists is missing.
    """
    if not folder.is_dir():
        raise BadInput(f"model folder {folder} does not exist; check `model.target` and `model.draft`")
    folder = unfolded(folder)
    index = folder / "model.safetensors.index.json"
    names = _listed(index) if index.is_file() else ["model.safetensors"]
    files = [folder / name for name in names]
    for file in files:
        if not file.is_file():
            raise BadInput(f"weights file {file} is missing; {_instead(folder, file)}")
    return files


def _instead(folder: Path, file: Path) -> str:
    """Say what to do about a file of weights that is missing, by what is there."""
    if file.is_symlink():
        return f"it is a link to {file.readlink()}, which is gone: download the model again"
    if others := sorted(found.name for kind in OTHER_FORMS for found in folder.glob(kind)):
        return (
            f"only safetensors are read, and {folder} has {others[0]}: use a checkpoint in safetensors, as"
            " `save_pretrained` of transformers writes it"
        )
    return "restore it, or `make models` rebuilds ours"


def _listed(index: Path) -> list[str]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return sorted(str(name) for name in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{index} is no index of weights files ({error!r}); restore it") from error


def read_header(file: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the tensors of a safetensors file by name and the offset at which their data starts.

    Raises:
        BadInput: the header cannot be read or points past the end of the file, or Git LFS left a pointer in its place.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(8)
            if start == _POINTER:
                raise BadInput(f"weights file {file} is a pointer of Git LFS; get what it stands for: git lfs pull")
            (length,) = struct.unpack("<Q", start)
            header = json.loads(stream.read(length)) if length < size else {}
    except OSError as error:
        raise BadInput(f"weights file {file} cannot be read ({error.strerror}); check its permissions") from error
    except (struct.error, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput(f"weights file {file} is corrupted (unreadable header); restore it") from error
    header.pop("__metadata__", None)
    end = max((entry["data_offsets"][1] for entry in header.values()), default=size)
    if 8 + length + end > size:
        raise BadInput(f"weights file {file} is truncated: {size} bytes, its header asks for {8 + length + end}")
    return header, 8 + length
