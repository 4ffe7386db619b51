"""Checkpoints whose weights are not plain numbers: which are refused, and with what advice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from systems.contract.errors import BadInput

BY_LOADING = ("fp8", "mxfp4")
"""Methods that transformers turns into plain weights while loading, so that loading decides."""


def method(config: Mapping[str, Any]) -> str | None:
    """Return the name of the method by which a checkpoint is quantised, by its `config.json`; None: by none."""
    for part in (config, config.get("text_config")):
        found = part.get("quantization_config") if isinstance(part, Mapping) else None
        if isinstance(found, Mapping):
            name = found.get("quant_method")
            return _bitsandbytes(found) if name is None else str(name)
    return None


def check_quantisation(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose weights cannot be read as plain numbers.

    Raises:
        BadInput: naming the method, and what to use instead.
    """
    name = method(config)
    if name is None or name in BY_LOADING:
        return
    bits = config.get("quantization_config", {}).get("bits")
    raise BadInput(
        f"{folder}: the weights are quantised by {name}{f' ({bits} bits)' if bits else ''}, and experts are served as"
        " float32, bfloat16 or float16 only; use the checkpoint that this one was made of (`base_model` of its card on"
        " the hub), and system=int4 or system=moe_speq where INT4 copies are wanted"
    )


def _bitsandbytes(found: Mapping[str, Any]) -> str:
    """The oldest form names no method."""
    return "bitsandbytes" if found.get("load_in_4bit") or found.get("load_in_8bit") else "an unnamed method"
