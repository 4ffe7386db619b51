"""What on this machine will make numbers noisy or wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.doctor.probes import Spread

BUSY = 0.3
"""Processors that others may keep busy before it matters."""
UNSTEADY = 0.10
STOLEN = 0.01
LATE = 0.10
"""Share of a transfer by which a sleep may be too long."""


@dataclass(frozen=True)
class Machine:
    """What was found out.

    Attributes:
        load: processes that wanted a processor over the last minute.
        work: the same work timed again and again.
        oversleep: by how much a sleep of `transfer` seconds is too long.
        layers: seconds of a target layer at one token by number of threads.
        copy, transfer: seconds of one expert as this machine copies it, and as the profile paces it (None: unpaced).
        needed, available: memory in bytes.
        quota: processors that the container may use, None for no limit.
    """

    cpus: int
    load: float
    stolen: float | None
    work: Spread
    oversleep: Spread
    layers: Mapping[int, float]
    copy: float
    transfer: float | None
    needed: int
    available: int
    swap_used: int
    governor: str | None
    quota: float | None
    threads: int
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Finding:
    """What is wrong, and what to change."""

    what: str
    remedy: str


def findings(machine: Machine) -> list[Finding]:
    """Return all that will disturb, the worst kinds first; empty on a good machine."""
    return [finding for check in CHECKS for finding in check(machine)]


def _others(machine: Machine) -> Iterator[Finding]:
    if machine.load > BUSY:
        yield Finding(
            f"others keep {machine.load:.1f} of {machine.cpus} processors busy",
            "wait until they are done, or stop them",
        )
    if machine.stolen is not None and machine.stolen > STOLEN:
        yield Finding(
            f"the hypervisor takes {machine.stolen:.0%} of the time away", "measure on a machine that is yours alone"
        )


def _steady(machine: Machine) -> Iterator[Finding]:
    if machine.work.disturbance > UNSTEADY:
        yield Finding(
            f"the same work takes {machine.work.disturbance:.0%} longer at the 95th percentile",
            "expect wide intervals: more prompts (dataset.limit) and repeats (measure.repeats) narrow them",
        )


def _processors(machine: Machine) -> Iterator[Finding]:
    if machine.cpus < 2:
        yield Finding("one processor: transfers take turns with the computation", "use two or more, or replay=FOLDER")
    if machine.quota is not None and machine.quota < machine.cpus:
        yield Finding(
            f"the container may use {machine.quota:.1f} of {machine.cpus} processors and is stopped beyond",
            "raise its CPU quota",
        )
    if machine.threads >= machine.cpus > 1:
        yield Finding(
            f"measure.threads is {machine.threads} of {machine.cpus} processors: none is left to the link",
            f"set measure.threads={machine.cpus - 1}",
        )
    own, fewer = machine.layers.get(machine.threads), {n: t for n, t in machine.layers.items() if n < machine.cpus}
    best = min(fewer, key=lambda n: fewer[n], default=machine.threads)
    if own is not None and best != machine.threads and fewer[best] < 0.9 * own:
        yield Finding(
            f"a layer takes {own * 1e3:.2f} ms with {machine.threads} threads, {fewer[best] * 1e3:.2f} ms with {best}",
            f"set measure.threads={best}",
        )


def _settings(machine: Machine) -> Iterator[Finding]:
    if "OMP_NUM_THREADS" not in machine.variables:
        yield Finding("OMP_NUM_THREADS is not set: libraries start a thread per processor", "export OMP_NUM_THREADS=1")
    if machine.governor not in (None, "performance"):
        yield Finding(
            f"the clock frequency follows the load (governor {machine.governor})",
            "cpupower frequency-set --governor performance",
        )


def _memory(machine: Machine) -> Iterator[Finding]:
    if machine.needed > machine.available:
        yield Finding(
            f"{machine.needed / 2**30:.1f} GiB are needed and {machine.available / 2**30:.1f} GiB free",
            "close other programs, or model.store=checkpoint keeps experts on disk",
        )
    if machine.swap_used > 2**28:
        yield Finding(f"{machine.swap_used / 2**30:.1f} GiB are swapped out", "free memory, then swapoff -a; swapon -a")


def _pace(machine: Machine) -> Iterator[Finding]:
    if machine.transfer is None:
        return
    if machine.oversleep.median > LATE * machine.transfer:
        yield Finding(
            f"a sleep of {machine.transfer * 1e3:.2f} ms, one transfer, is"
            f" {machine.oversleep.median * 1e3:.2f} ms too long",
            "the link's worker keeps a processor awake at the end of each wait; leave one to it",
        )
    if machine.copy > machine.transfer:
        yield Finding(
            f"copying an expert takes {machine.copy * 1e3:.2f} ms, longer than the {machine.transfer * 1e3:.2f} ms"
            " of the emulated link",
            "the pace cannot be kept: hardware=coarse has slower transfers, or replay=FOLDER",
        )


CHECKS: tuple[Callable[[Machine], Iterator[Finding]], ...] = (
    _others, _steady, _processors, _settings, _memory, _pace,
)  # fmt: skip


def governor() -> str | None:
    """How the first processor's frequency is chosen; None where nobody says."""
    return _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))


def quota() -> float | None:
    """Processors that the container may use; None for no limit."""
    second = _read(Path("/sys/fs/cgroup/cpu.max"))
    if second is not None:
        most, period = second.split()
        return None if most == "max" else int(most) / int(period)
    first, period_us = (_read(Path("/sys/fs/cgroup/cpu") / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return None if first is None or period_us is None or int(first) < 0 else int(first) / int(period_us)


def _read(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None
