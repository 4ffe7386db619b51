"""Activation matrices on disk: one compressed `.npz`, with what they were collected from as JSON."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from systems.contract.errors import BadInput

VERSION = 1
AGAIN = "collect them with python -m harness activations"
IDENTITY = ("target", "top_k", "layers", "experts")
"""What a model and the one that the matrices were collected from must have in common: it decides the routing."""


@dataclass(frozen=True)
class Stored:
    """Matrices that were collected before.

    Attributes:
        source: where they are from, for the record.
        counts: decoded tokens `[sequences, layers, experts]`.
    """

    source: str
    counts: NDArray[np.float64]


def save(path: Path, counts: NDArray[Any], model: Mapping[str, Any], texts: Mapping[str, Any]) -> None:
    """Write matrices, the model's identity, and from which texts they were collected.

    Args:
        counts: whole numbers `[sequences, layers, experts]`, below 65,536.
        model: as `ModelPair.describe` says it.
    """
    facts = {"version": VERSION, "model": {name: model[name] for name in ("name", *IDENTITY)}, "texts": dict(texts)}
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("wb") as file:
        np.savez_compressed(file, facts=np.array(json.dumps(facts)), counts=counts.astype(np.uint16))
    temporary.replace(path)


def load(path: Path, model: Mapping[str, Any]) -> Stored:
    """Read what `save` wrote.

    Raises:
        BadInput: no such file, a broken one, or one of another model than this one.
    """
    facts, counts = _read(path)
    for name in IDENTITY:
        if facts["model"][name] != model[name]:
            raise BadInput(
                f"`model.activations` {path.name} was collected from another {name} than {model['name']}'s; {AGAIN},"
                " or set model.activations=null"
            )
    if counts.ndim != 3 or counts.shape[1:] != (model["layers"], model["experts"]) or not len(counts):
        raise BadInput(f"`model.activations` {path.name} has matrices of the shape {counts.shape}; {AGAIN}")
    return Stored(f"{path.name}, {len(counts)} sequences of {facts['texts']['dataset']}", counts.astype(np.float64))


def _read(path: Path) -> tuple[dict[str, Any], NDArray[Any]]:
    if not path.is_file():
        raise BadInput(f"`model.activations` {path} is missing; {AGAIN}")
    try:
        with np.load(path, allow_pickle=False) as saved:
            facts: dict[str, Any] = json.loads(str(saved["facts"]))
            counts: NDArray[Any] = saved["counts"]
    except (BadZipFile, zlib.error, EOFError, KeyError, ValueError, OSError, TypeError) as error:
        raise BadInput(f"`model.activations` {path} is damaged or holds something else ({error}); {AGAIN}") from error
    if facts.get("version") != VERSION:
        raise BadInput(f"`model.activations` {path} has version {facts.get('version')}, {VERSION} is read; {AGAIN}")
    return facts, counts
