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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from systems.contract.errors import BadInput
from systems.files.hashing import content_hash
from systems.store.checkpoint import ExpertShape, as_memory, read_exactly

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


class Pack:
    """The pack of a checkpoint, which `put` fills where there is none that can be used.

    Args:
        files: those of the checkpoint.
    """

    def __init__(self, shape: ExpertShape, dtype: torch.dtype, files: Sequence[Path], cache_dir: Path) -> None:
        self._shape, self._dtype = shape, dtype
        self._identity = _identity(shape, dtype, files)
        self.path = cache_dir / f"{self._identity[:16]}.pack"
        self._partial: BinaryIO | None = None

    def usable(self) -> bool:
        """Whether the pack is there and whole; if it is not, what is wrong is logged."""
        if problem := _problem(self.path, self._identity, self._shape, self._dtype):
            _log.warning("expert pack %s is %s; building it", self.path.name, problem)
        return not problem

    @contextmanager
    def building(self) -> Iterator[None]:
        """Take what is `put` meanwhile, and be whole afterwards.

        Raises:
            BadInput: the pack cannot be written, e.g. for want of space.
        """
        partial = self.path.with_suffix(".partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("w+b") as self._partial:
                yield
                self._seal(self._partial)
            partial.replace(self.path)
        except OSError as error:
            raise BadInput(f"cannot write expert pack {self.path}: {error.strerror}; set model.cache_dir") from error
        finally:
            partial.unlink(missing_ok=True)

    def put(self, layer: int, part: int, weights: torch.Tensor) -> None:
        """Write a part of all experts of a layer, the expert being the first dimension (or the first rows)."""
        assert self._partial is not None, "the pack is being built"
        shape, itemsize = self._shape, self._dtype.itemsize
        offset, stride = sum(shape.sizes[:part]) * itemsize, _round_up(shape.record_bytes(self._dtype))
        rows = weights.reshape(-1, shape.sizes[part])[: shape.experts].to(self._dtype).contiguous().view(torch.uint8)
        for expert, row in enumerate(rows, layer * shape.experts):
            self._partial.seek(_header_bytes(shape) + expert * stride + offset)
            self._partial.write(as_memory(row))

    def open(self) -> PackedFileStore:
        """Open it."""
        return PackedFileStore(self.path, self._shape, self._dtype)

    def _seal(self, stream: BinaryIO) -> None:
        """Pad the last record, and write the header with the checksums of all."""
        shape, stride = self._shape, _round_up(self._shape.record_bytes(self._dtype))
        stream.truncate(_header_bytes(shape) + shape.count * stride)
        stream.seek(_header_bytes(shape))
        checksums = [zlib.crc32(stream.read(stride)) for _ in range(shape.count)]
        stream.seek(0)
        stream.write(_MAGIC + json.dumps({"identity": self._identity, "crc32": checksums}).encode())
        stream.flush()
        os.fsync(stream.fileno())


def _identity(shape: ExpertShape, dtype: torch.dtype, files: Sequence[Path]) -> str:
    digest = hashlib.sha256(f"{shape} {dtype}".encode())
    for file in sorted(files):
        digest.update(f"{file.name} {content_hash(file)}".encode())
    return digest.hexdigest()


def _header_bytes(shape: ExpertShape) -> int:
    return _round_up(256 + 12 * shape.count)


def _round_up(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


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
