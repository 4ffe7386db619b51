"""Halve what a checkpoint takes on disk: matrices as int8 with a scale for every 64 columns of a row.

    python -m models.compacting FOLDER      (`systems.files.compact` reads it)

The rounding changes the weights, once: what is measured and published afterwards are the rounded ones. Of scales per
row, per 32 columns as powers of two, and per 64 columns as here, only the last cost nothing that could be measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models import stages
from systems.files.compact import COMPACT, PLAIN, SCALES

LARGEST, COLUMNS = 127, 64
SMALL = 1 << 16
"""Elements; matrices with fewer (routers) and vectors stay as they are."""


def rounded(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """`matrix` `[rows, columns]` as int8, and the bf16 scales `[rows, groups]` that they are times."""
    size = COLUMNS if matrix.shape[1] % COLUMNS == 0 else matrix.shape[1]
    groups = matrix.float().unflatten(1, (-1, size))
    scales = (groups.abs().amax(2) / LARGEST).clamp_min(torch.finfo(torch.bfloat16).tiny).bfloat16()
    whole = (groups / scales.float()[..., None]).round().clamp(-LARGEST, LARGEST)
    return whole.flatten(1).to(torch.int8), scales


def compact(folder: Path) -> None:
    """Replace the plain weights in `folder` by compact ones."""
    stored: dict[str, Tensor] = {}
    for name, tensor in load_file(folder / PLAIN).items():
        if tensor.ndim == 2 and tensor.numel() >= SMALL:
            stored[name], stored[name + SCALES] = rounded(tensor)
        else:
            stored[name] = tensor
    stages.write_atomically(folder / COMPACT, lambda path: save_file(stored, path))
    (folder / PLAIN).unlink()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    compact(parser.parse_args().folder)


if __name__ == "__main__":
    main()
