"""Run the kit on the device at hand: facts, micro-measurements, tests, comparisons, a profile, in at most 8 minutes.

    python -m harness gpu_bench                           # all stages; results in build/gpu_bench/
    python -m harness gpu_bench --output=there --seconds=300
    python -m harness gpu_bench --tiny --device=cpu       # a rehearsal on a machine without a device

Every stage is a process with a deadline, and what it has found is kept whatever happens to those behind it. Six files
come of it, in OUTPUT/back or where --back says: kit.json, results.tar.gz, junit.xml, log.txt, sample.json.gz and
profile.json.gz.
`python -m harness.gpu_bench.take OUTPUT/back NAME` files them under results/device/NAME.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.cli.launch import typed
from harness.gpu_bench.kit import Kit
from harness.gpu_bench.stages import BUDGET_SECONDS, REHEARSAL, STAGES, Setup
from harness.records import provenance


def main() -> int:
    """Run for `sys.argv`; the exit code is 1 where a stage failed, and else as `harness.cli.launch.main` has it."""
    parser = argparse.ArgumentParser(prog="python -m harness gpu_bench")
    parser.add_argument("--output", type=Path, default=provenance.ROOT / "build" / "gpu_bench")
    parser.add_argument("--back", type=Path, help="where what is to be brought home goes; OUTPUT/back")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu for a rehearsal")
    parser.add_argument("--seconds", type=float, default=BUDGET_SECONDS, help="all stages together")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal: every command once, at small sizes")
    parser.add_argument("--stages", default="", help="names, separated by commas; all in order")
    arguments = parser.parse_args()
    setup = Setup(arguments.output.absolute(), arguments.device, arguments.tiny)
    wanted = [name for name in arguments.stages.split(",") if name] or (REHEARSAL if arguments.tiny else None)
    known = [stage.name for stage in STAGES]
    if strangers := sorted(set(wanted or ()) - set(known)):
        parser.error(f"--stages: {', '.join(strangers)} unknown; choose from {', '.join(known)}")
    stages = [stage for stage in STAGES if wanted is None or stage.name in wanted]
    kit = Kit(setup, stages, arguments.seconds, arguments.back and arguments.back.absolute())
    return typed(lambda: 0 if kit.run() else 1)


if __name__ == "__main__":
    sys.exit(main())
