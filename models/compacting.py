"""Halve what a checkpoint takes on disk: rows of matrices as int8 times a power of two (`systems.files.compact`).

    python -m models.compacting FOLDER

The rounding changes the weights, once: what is measured and published afterwards are the rounded ones. A row's step
is the smallest power of two with which its largest weight fits, an error of about 1 % of the row's spread.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models import stages
from systems.files.compact import COMPACT, EXPONENT, PLAIN

LARGEST = 127
SMALL = 1 << 16
"""Elements; matrices with fewer (routers) and vectors stay as they are."""


def rounded(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """`matrix` `[rows, columns]` as int8, and the exponents `[rows]` of the powers of two that they are times."""
    wide = matrix.float()
    largest = wide.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny)
    exponents = (largest / LARGEST).log2().ceil()
    whole = torch.ldexp(wide, -exponents[:, None]).round().clamp(-LARGEST, LARGEST)
    return whole.to(torch.int8), exponents.to(torch.int8)


def compact(folder: Path) -> None:
    """Replace the plain weights in `folder` by compact ones."""
    stored: dict[str, Tensor] = {}
    for name, tensor in load_file(folder / PLAIN).items():
        if tensor.ndim == 2 and tensor.numel() >= SMALL:
            stored[name], stored[name + EXPONENT] = rounded(tensor)
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
