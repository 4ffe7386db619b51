"""One aligned file of expert records: the fast form of the file tier.

Records lie at a fixed stride, a multiple of 4 KiB, behind a JSON header that carries shape, dtype, the
identity of the checkpoint and a CRC-32 per record. A stale or damaged pack is rebuilt from the checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from systems.contract.errors import BadInput
from systems.runtime.checkpoint import ExpertIndex, ExpertShape, as_memory, read_exactly
from systems.runtime.store import CheckpointStore
from systems.runtime.weight_files import content_hash

_PAGE = 4096
_MAGIC = b"SPMOEPK1"
_log = logging.getLogger(__name__)


class PackedFileStore:
    """Records of a pack file, read with `preadv`; consecutive records come with one call."""

    def __init__(self, path: Path, shape: ExpertShape, dtype: torch.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self._record = shape.record_bytes(dtype)
        self._stride = _round_up(self._record)
        self._start = _header_bytes(shape)
        self._padding = memoryview(bytearray(self._stride - self._record))
        self._descriptor: int | None = os.open(path, os.O_RDONLY)

    def read(self, experts: Sequence[int], into: Sequence[torch.Tensor]) -> None:
        """Read records, consecutive ones with one call and the padding between them into a scrap buffer."""
        assert self._descriptor is not None, "store is closed"
        wanted = sorted(zip(experts, into, strict=True), key=lambda pair: pair[0])
        while wanted:
            run = [pair for place, pair in enumerate(wanted) if pair[0] == wanted[0][0] + place]
            del wanted[: len(run)]
            buffers: list[memoryview] = []
            for _, buffer in run:
                buffers += [as_memory(buffer), self._padding] if self._padding else [as_memory(buffer)]
            read_exactly(self._descriptor, buffers, self._start + run[0][0] * self._stride)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def open_pack(source: CheckpointStore, index: ExpertIndex, dtype: torch.dtype, cache_dir: Path) -> PackedFileStore:
    """Open the pack of a checkpoint, building or rebuilding it when it is absent, stale or damaged.

    Raises:
        BadInput: the pack cannot be written, e.g. for want of space.
    """
    identity = _identity(index, dtype)
    path = cache_dir / f"{identity[:16]}.pack"
    problem = _problem(path, identity, index.shape, dtype)
    if problem:
        _log.warning("expert pack %s is %s; building it", path.name, problem)
        try:
            _build(path, source, identity, dtype)
        except OSError as error:
            path.with_suffix(".partial").unlink(missing_ok=True)
            raise BadInput(f"cannot write expert pack {path}: {error.strerror}; set model.cache_dir") from error
    return PackedFileStore(path, index.shape, dtype)


def _identity(index: ExpertIndex, dtype: torch.dtype) -> str:
    digest = hashlib.sha256(f"{index.shape} {dtype}".encode())
    for file in sorted({place.file for ranges in index.ranges for place in ranges.values()}):
        digest.update(f"{file.name} {content_hash(file)}".encode())
    return digest.hexdigest()


def _header_bytes(shape: ExpertShape) -> int:
    return _round_up(256 + 12 * shape.count)


def _round_up(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


def _build(path: Path, source: CheckpointStore, identity: str, dtype: torch.dtype) -> None:
    shape = source.shape
    stride = _round_up(shape.record_bytes(dtype))
    staging = torch.empty(shape.record_bytes(source.dtype), dtype=torch.uint8)
    record = torch.zeros(stride, dtype=torch.uint8)
    checksums = []
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as stream:
        stream.seek(_header_bytes(shape))
        for expert in range(shape.count):
            source.read([expert], [staging])
            record[: shape.record_bytes(dtype)].view(dtype).copy_(staging.view(source.dtype))
            checksums.append(zlib.crc32(as_memory(record)))
            stream.write(as_memory(record))
        stream.seek(0)
        stream.write(_MAGIC + json.dumps({"identity": identity, "crc32": checksums}).encode())
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def _problem(path: Path, identity: str, shape: ExpertShape, dtype: torch.dtype) -> str:
    """Say what is wrong with a pack, or nothing. Reads all of it: a damaged expert must not be served."""
    if not path.is_file():
        return "absent"
    with path.open("rb") as stream:
        header = _read_header(stream.read(_header_bytes(shape)))
        if header is None or header.get("identity") != identity:
            return "stale"
        for expert, expected in enumerate(header["crc32"]):
            data = stream.read(_round_up(shape.record_bytes(dtype)))
            if zlib.crc32(data) != expected:
                return f"damaged at expert {expert}"
    return ""


def _read_header(data: bytes) -> dict[str, Any] | None:
    if not data.startswith(_MAGIC):
        return None
    try:
        header = json.loads(data[len(_MAGIC) :].rstrip(b"\0"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return None
    return header if isinstance(header, dict) and isinstance(header.get("crc32"), list) else None
