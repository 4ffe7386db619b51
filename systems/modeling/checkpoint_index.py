"""Where the experts lie inside a Hugging Face checkpoint: an index over its safetensors files.

Which tensor of a file becomes which part of which expert is transformers' own knowledge: its renamings and converters
are asked. Where they only stack and concatenate, arithmetic on the files' headers gives the byte ranges of each expert,
and nothing has to be rewritten.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from systems.contract.errors import BadInput
from systems.files.weight_files import checkpoint_files, read_header
from systems.modeling.skeleton import Skeleton
from systems.store.checkpoint import ByteRange, ExpertIndex

_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_STACKED = ([("MergeModulelist", 0)], [("MergeModulelist", 0), ("Concatenate", 1)])
"""Conversions, and the dimensions along which they work, that leave the bytes of each expert as they are."""
REWRITTEN = -1


def index_experts(folder: Path, skeleton: Skeleton) -> ExpertIndex:
    """Index the routed experts of a checkpoint.

    Raises:
        BadInput: a truncated file, experts that are missing, or that are stored in another form than the model's.
    """
    places, dtypes = _places(folder, skeleton)
    if len(dtypes) != 1 or (dtype := _DTYPES.get(next(iter(dtypes)))) is None:
        raise BadInput(f"{folder}: experts are stored as {sorted(dtypes)}; one of {sorted(_DTYPES)} is needed")
    shape, ranges = skeleton.shape, list[tuple[ByteRange, ...]]()
    for layer in range(len(shape.layers)):
        for expert in range(shape.experts):
            pieces = tuple(piece for part in range(len(shape.parts)) for piece in places[layer, part, expert])
            if sum(piece.length for piece in pieces) != shape.record_bytes(dtype):
                raise BadInput(f"{folder}: layer {shape.layers[layer]} expert {expert} is not stored as a whole")
            ranges.append(pieces)
    return ExpertIndex(shape, dtype, tuple(ranges))


def _places(folder: Path, skeleton: Skeleton) -> tuple[dict[tuple[int, int, int], list[ByteRange]], set[str]]:
    """Return the pieces of each part by layer, part and expert, and the dtypes in which they are stored."""
    headers = [(file, *read_header(file)) for file in checkpoint_files(folder)]
    entries = [(name, file, start, entry) for file, header, start in headers for name, entry in header.items()]
    sources = Sources(skeleton.model)
    stacked: dict[tuple[int, int, int], list[ByteRange]] = defaultdict(list)
    places: dict[tuple[int, int, int], list[ByteRange]] = defaultdict(list)
    dtypes: set[str] = set()
    for name, file, start, entry in sorted(entries, key=lambda item: sources.order(item[0])):
        target, source = sources.target(name)
        if (own := skeleton.names.get(target)) is None:
            continue
        begin, end = entry["data_offsets"]
        place = ByteRange(file, start + begin, end - begin)
        dtypes.add(entry["dtype"])
        if source == REWRITTEN:
            raise BadInput(
                f"model.store=checkpoint cannot serve {target}, which is stored otherwise; use model.store=pack"
            )
        if source is not None:
            stacked[(*own, source)].append(place)
            continue
        size = place.length * skeleton.shape.sizes[own[1]] // math.prod(entry["shape"])
        for expert in range(skeleton.shape.experts):
            places[(*own, expert)].append(ByteRange(file, place.offset + expert * size, size))
    for (layer, part, _), pieces in sorted(stacked.items()):
        for expert, place in enumerate(pieces):
            places[layer, part, expert].append(place)
    return places, dtypes


class Sources:
    """What transformers makes of the tensors of a checkpoint of a model."""

    def __init__(self, model: Any) -> None:
        from transformers import core_model_loading as loading
        from transformers.conversion_mapping import get_model_conversion_mapping

        mapping = get_model_conversion_mapping(model)
        self._loading: Any = loading
        self._renamings = [entry for entry in mapping if isinstance(entry, loading.WeightRenaming)]
        self._converters = [entry for entry in mapping if isinstance(entry, loading.WeightConverter)]
        self._prefix, self._state = model.base_model_prefix, model.state_dict()

    def order(self, name: str) -> Any:
        """Return what transformers sorts tensors by, so that experts are in the order of their numbers."""
        return self._loading.dot_natural_key(name)

    def target(self, name: str) -> tuple[str, int | None]:
        """Return the parameter that a tensor becomes, and its place among those that are concatenated.

        None instead of a place: its bytes are those of the parameter; `REWRITTEN`: they are computed from it.
        """
        rename: Any = self._loading.rename_source_key
        target, pattern = rename(name, self._renamings, self._converters, self._prefix, self._state)
        if target not in self._state:
            target, pattern = rename(name, [], [], self._prefix, self._state)
        if pattern is None:
            return target, None
        converter = next(entry for entry in self._converters if pattern in entry.source_patterns)
        if [
            (type(operation).__name__, getattr(operation, "dim", None)) for operation in converter.operations
        ] not in _STACKED:
            return target, REWRITTEN
        return target, converter.source_patterns.index(pattern)
