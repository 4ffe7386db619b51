"""Micro-measurements that turn estimates of the device's path into numbers: the link, latencies, launches, the host.

Without a device the same is timed between tensors of the host: that rehearses the code, and says nothing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from harness.doctor.probes import sample
from harness.gpu_bench.stages import Setup

Keep = Callable[[str, Any], None]
"""Called with what has been found and its value."""
SIZES = (64, 2**20, 9_437_184, 17_301_504, 352_321_536)
"""Bytes of a copy: an index, a MiB, and an expert of Qwen3-30B-A3B, DeepSeek-V2-Lite and Mixtral-8x7B in bf16."""
TINY_SIZES = (64, 2**16)
SHAPES = {"deepseek_v2_lite": (2048, 1408), "mixtral_8x7b": (4096, 14336)}
"""Hidden and intermediate size of an expert."""
TINY_SHAPES = {"tiny": (64, 32)}
OPERATORS = 100
SECONDS = 0.5
"""How long each time is sampled."""


def measure(setup: Setup, keep: Keep) -> None:
    """Measure one thing after the other, what decides most first."""
    bench, copies = _Bench(setup), list[dict[str, Any]]()
    for size in bench.sizes:
        keep("copies", copies := [*copies, *bench.copies(size)])
    keep("latency_us", bench.latencies())
    keep("launches_us", bench.launches())
    keep("host_expert_ms", bench.host_experts())
    keep("registering_s_per_gb", bench.registering())


class _Bench:
    def __init__(self, setup: Setup) -> None:
        import torch

        self._torch: Any = torch
        self.device = torch.device(setup.device)
        self.on_device = self.device.type == "cuda"
        self.sizes: tuple[int, ...] = TINY_SIZES if setup.tiny else SIZES
        self._shapes = TINY_SHAPES if setup.tiny else SHAPES
        self._seconds = 0.02 if setup.tiny else SECONDS

    def copies(self, size: int) -> list[dict[str, Any]]:
        """Bytes per second to the device, by memory and copies that are in flight together."""
        return [
            {"bytes": size, "memory": kind, "in_flight": flying, "bytes_per_s": self._copy(size, pinned, flying)}
            for kind, pinned in (("page-locked", True), ("pageable", False))
            for flying in (1, 2, 4)
        ]

    def latencies(self) -> dict[str, float]:
        """A copy of 64 bytes, and reading one number, alone and while a large copy is in flight."""
        torch = self._torch
        index, there = self._host(64, True), torch.zeros(64, dtype=torch.uint8, device=self.device)
        large = self._host(self.sizes[-1], True)
        target = torch.empty(self.sizes[-1], dtype=torch.uint8, device=self.device)
        side = torch.cuda.Stream(self.device) if self.on_device else None

        def behind(action: Callable[[], Any]) -> Callable[[], Any]:
            def both() -> None:
                if side is not None and side.query():
                    with torch.cuda.stream(side):
                        target.copy_(large, non_blocking=True)
                action()

            return both

        def copy() -> None:
            there.copy_(index, non_blocking=True)
            if self.on_device:  # not for what another stream still copies
                torch.cuda.current_stream(self.device).synchronize()

        actions = {"copy_64_bytes": copy, "read_a_number": lambda: there[0].item()}
        actions |= {f"{name}_behind_a_large_copy": behind(action) for name, action in actions.items()}
        return {name: self._time(action) * 1e6 for name, action in actions.items()}

    def launches(self) -> dict[str, float | None]:
        """A hundred small operators one by one, and as one graph; and waiting for an event."""
        torch = self._torch
        vector = torch.ones(2048, device=self.device)

        def eager() -> None:
            for _ in range(OPERATORS):
                vector.mul_(1.0)
            self._wait()

        found: dict[str, float | None] = {"eager_operator": self._time(eager) * 1e6 / OPERATORS}
        found |= {"graph_of_100": None, "event_wake_up": None}
        if not self.on_device:
            return found
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(OPERATORS):
                vector.mul_(1.0)

        def replay() -> None:
            graph.replay()
            self._wait()

        def event() -> None:
            done = torch.cuda.Event(blocking=True)
            done.record()
            done.synchronize()

        return found | {"graph_of_100": self._time(replay) * 1e6, "event_wake_up": self._time(event) * 1e6}

    def host_experts(self) -> list[dict[str, Any]]:
        """One expert over one row on the host's processor in bf16, by threads: the time to compute it where it lies."""
        torch, before = self._torch, self._torch.get_num_threads()
        found = []
        try:
            for name, (hidden, intermediate) in self._shapes.items():
                weights = [
                    torch.randn(2 * intermediate, hidden).bfloat16(),
                    torch.randn(hidden, intermediate).bfloat16(),
                ]
                row = torch.randn(1, hidden).bfloat16()
                for threads in [2**power for power in range(before.bit_length()) if 2**power <= before]:
                    torch.set_num_threads(threads)
                    took = self._time(lambda row=row, weights=weights: self._expert(row, *weights))  # type: ignore[misc]
                    found.append({"shape": name, "threads": threads, "ms": took * 1e3})
        finally:
            torch.set_num_threads(before)
        return found

    def registering(self) -> dict[str, float] | None:
        """Page-locking host memory that has been written before, and that has not; None without a device."""
        if not self.on_device:
            return None
        torch, found = self._torch, {}
        for kind, touched in (("written", True), ("not_written", False)):
            memory = torch.empty(2**31, dtype=torch.uint8)
            if touched:
                memory.zero_()
            begin = time.perf_counter()
            status = torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), memory.nbytes, 0)
            took = time.perf_counter() - begin
            if int(status) == 0:
                torch.cuda.cudart().cudaHostUnregister(memory.data_ptr())
                found[kind] = took / (memory.nbytes / 1e9)
        return found

    def _copy(self, size: int, pinned: bool, flying: int) -> float:
        torch = self._torch
        sources = [self._host(size, pinned) for _ in range(flying)]
        targets = [torch.empty(size, dtype=torch.uint8, device=self.device) for _ in range(flying)]

        def copy() -> None:
            for target, source in zip(targets, sources, strict=True):
                target.copy_(source, non_blocking=True)
            self._wait()

        return flying * size / self._time(copy)

    def _expert(self, row: Any, gate_up: Any, down: Any) -> Any:
        functional = self._torch.nn.functional
        gate, up = functional.linear(row, gate_up).chunk(2, dim=-1)
        return functional.linear(functional.silu(gate) * up, down)

    def _host(self, size: int, pinned: bool) -> Any:
        return self._torch.ones(size, dtype=self._torch.uint8, pin_memory=pinned and self.on_device)

    def _wait(self) -> None:
        if self.on_device:
            self._torch.cuda.synchronize(self.device)

    def _time(self, action: Callable[[], Any]) -> float:
        return statistics.median(sample(action, self._seconds))
