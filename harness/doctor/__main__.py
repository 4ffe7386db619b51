"""What this machine can do, what will be noisy on it, and what to change.

    python -m harness doctor
    python -m harness doctor hardware=coarse measure.threads=2

Half a minute of short measurements with the configured model; nothing is stored. The exit code is 0 whatever is found.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.cli.launch import launch
from harness.config import compose
from harness.config.bench import BenchConfig, MeasureConfig
from harness.doctor import findings as doctor_findings
from harness.doctor import probes as doctor_probes
from harness.doctor.findings import Machine
from harness.measure.hardware import pace
from harness.records import provenance
from systems import api

Fact = tuple[str, str]
PROMPT = 'def mean(numbers):\n    """Return the mean of numbers."""\n'
"""Continued while layers are timed."""


def main() -> int:
    """Examine for `sys.argv`; exit codes are those of `harness.cli.launch.main`."""
    return launch(_examine, compose.bench_config)


def examine(config: BenchConfig, pair: api.ModelPair) -> tuple[list[Fact], Machine]:
    """Measure; return what is shown, and what is judged. What others do is looked at before we keep processors busy."""
    import psutil

    load, stolen = os.getloadavg()[0], doctor_probes.stolen_share()
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    costs = _layers(pair, config.measure)
    transfer = None
    if config.hardware.emulate is not None:
        link = pace(config.hardware.emulate, pair.record_bytes, costs[config.measure.threads].target_layer[1])
        transfer = link.latency + pair.record_bytes / link.bandwidth
    bandwidth = doctor_probes.memory_bandwidth(pair.record_bytes)
    machine = Machine(
        cpus=provenance.cpus(),
        load=load,
        stolen=stolen,
        work=doctor_probes.steadiness(),
        oversleep=doctor_probes.oversleep(transfer or doctor_probes.WORK_SECONDS),
        layers={threads: found.target_layer[1] for threads, found in costs.items()},
        copy=pair.record_bytes / bandwidth,
        transfer=transfer,
        needed=pair.non_expert_bytes + 2 * pair.expert_bytes + pair.draft_bytes,
        available=memory.available,
        swap_used=swap.used,
        governor=doctor_findings.governor(),
        quota=doctor_findings.quota(),
        threads=config.measure.threads,
        variables={name: os.environ[name] for name in provenance.THREAD_VARIABLES if name in os.environ},
    )
    return [*_processor(machine, costs), *_memory(machine, bandwidth, config, pair), *_time(machine)], machine


def _examine(config: BenchConfig) -> None:
    console = Console()
    pair = api.load_pair(config.model, provenance.ROOT)
    try:
        with console.status("measuring"):
            facts, machine = examine(config, pair)
    finally:
        pair.close()
    table = Table(title_justify="left")
    for heading in ("what this machine can do", ""):
        table.add_column(heading, overflow="fold")
    for name, value in facts:
        table.add_row(name, value)
    console.print(table)
    found = doctor_findings.findings(machine)
    if not found:
        console.print("Nothing was found that will disturb a measurement.")
    for finding in found:
        console.print(f"! {finding.what}\n  -> {finding.remedy}", highlight=False, markup=False)


def _layers(pair: api.ModelPair, measure: MeasureConfig) -> dict[int, api.Costs]:
    """Time layers at one token with 1, 2, 4, ... threads, and with the configured number."""
    import torch

    before, most = torch.get_num_threads(), provenance.cpus()
    more = (2**power for power in range(most.bit_length()) if 2**power <= most)
    # A device does not compute with the threads.
    counts = sorted({measure.threads, *(more if pair.device == "cpu" else ())})
    found = {}
    try:
        for count in counts:
            torch.set_num_threads(count)
            found[count] = api.measure_costs(pair, [1], [pair.encode(PROMPT)], measure.calibration_seconds)
    finally:
        torch.set_num_threads(before)
    return found


def _processor(machine: Machine, costs: dict[int, api.Costs]) -> Iterator[Fact]:
    facts = provenance.collect()
    yield "processor", f"{facts['cpu']}, {machine.cpus} usable"
    yield "target layer at one token", _each({count: found.target_layer[1] for count, found in costs.items()})
    yield "draft layer at one token", _each({count: found.draft_layer[1] for count, found in costs.items()})
    yield "the same work again", f"{machine.work.disturbance:+.1%} at the 95th percentile"
    for device in facts["gpu"]:
        yield "GPU", f"{device['name']}, {device['bytes'] / 2**30:.0f} GiB, CUDA {device['cuda']}"
    if not facts["gpu"]:
        yield "GPU", "none: transfers are emulated, or of host memory"


def _memory(machine: Machine, bandwidth: float, config: BenchConfig, pair: api.ModelPair) -> Iterator[Fact]:
    size = f"records of {pair.record_bytes / 2**20:.2f} MiB"
    yield "memory", f"{machine.available / 2**30:.1f} GiB free, {machine.needed / 2**30:.2f} GiB needed"
    yield f"memory, {size}", f"{bandwidth / 1e9:.1f} GB/s"
    files = sorted(config.model.folder(config.model.target, provenance.ROOT).glob("*.safetensors"))
    disk = doctor_probes.disk_bandwidth(_largest(files), pair.record_bytes) if files else None
    yield f"disk, {size}, uncached", "unknown" if disk is None else f"{disk / 1e9:.2f} GB/s"
    for pinned, name in ((True, "page-locked"), (False, "pageable")):
        if (link := doctor_probes.device_link(pair.record_bytes, pinned, pair.device)) is not None:
            yield f"link to the GPU, {name}, {size}", f"{link / 1e9:.1f} GB/s"


def _time(machine: Machine) -> Iterator[Fact]:
    yield "one expert copied", f"{machine.copy * 1e3:.3f} ms"
    if machine.transfer is not None:
        yield "one expert on the emulated link", f"{machine.transfer * 1e3:.3f} ms"
    yield "clock", f"steps of {doctor_probes.clock_step() * 1e9:.0f} ns"
    late = machine.oversleep
    yield "sleep is too long by", f"{late.median * 1e6:.0f} us, at worst {late.worst * 1e6:.0f} us"


def _each(times: dict[int, float]) -> str:
    return ", ".join(f"{seconds * 1e3:.3f} ms ({count} thread{'s'[: count > 1]})" for count, seconds in times.items())


def _largest(files: Sequence[Path]) -> Path:
    return max(files, key=lambda file: file.stat().st_size)


if __name__ == "__main__":
    sys.exit(main())
