"""One stage of the kit, in a process of its own: `python -m harness.gpu_bench.stage NAME OUTPUT DEVICE [--tiny]`.

What is found is written whenever something is, so that a stage that runs out of time leaves what it had.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from harness.gpu_bench import micro, profile, shapes
from harness.gpu_bench.stages import Setup
from harness.records import provenance
from harness.records.files import dump, write_text


def main() -> int:
    """Run for `sys.argv`."""
    name, output, device, *flags = sys.argv[1:]
    setup = Setup(Path(output), device, "--tiny" in flags)
    found: dict[str, Any] = {}

    def keep(key: str, value: Any) -> None:
        found[key] = value
        write_text(setup.output / "stages" / f"{name}.json", dump(found, indent=1))

    (setup.output / "stages").mkdir(parents=True, exist_ok=True)
    STAGES[name](setup, keep)
    return 0


def facts(setup: Setup, keep: micro.Keep) -> None:
    """What is known of machine and code."""
    for key, file in (("huge_pages", "/sys/kernel/mm/transparent_hugepage/enabled"), ("memory", "/proc/meminfo")):
        if Path(file).exists():
            keep(key, Path(file).read_text().splitlines()[:3])
    for key, value in provenance.collect().items():
        keep(key, value)


STAGES: dict[str, Callable[[Setup, micro.Keep], None]] = {
    "facts": facts,
    "micro": micro.measure,
    "profile": profile.profile,
    **{name: partial(shapes.measure, name) for name in shapes.PLANS},
}

if __name__ == "__main__":
    sys.exit(main())
