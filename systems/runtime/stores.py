"""Which store serves the experts: the one that `model.store` names."""

from __future__ import annotations

from pathlib import Path

import torch

from systems.contract.errors import BadInput
from systems.runtime.checkpoint import ExpertIndex
from systems.runtime.pack import open_pack
from systems.runtime.store import CheckpointStore, ExpertStore, RamStore


def open_store(kind: str, index: ExpertIndex, dtype: torch.dtype, cache_dir: Path) -> ExpertStore:
    """Open the store that `model.store` names, holding experts in `dtype`.

    Raises:
        BadInput: an unknown kind, or `checkpoint` for another dtype than the files hold.
    """
    if kind == "checkpoint":
        if dtype != index.dtype:
            raise BadInput(
                f"model.store=checkpoint serves experts as stored ({index.dtype}), not as {dtype}; "
                "set model.dtype accordingly or use model.store=pack"
            )
        return CheckpointStore(index)
    checkpoint = CheckpointStore(index)
    try:
        if kind == "ram":
            return RamStore(checkpoint, dtype)
        if kind == "pack":
            return open_pack(checkpoint, index, dtype, cache_dir)
    finally:
        checkpoint.close()
    raise BadInput(f"model.store={kind!r} is unknown; choose ram, pack or checkpoint")
