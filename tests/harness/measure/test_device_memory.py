"""What a system takes on a device, by an allocator that stands in for torch's."""

from __future__ import annotations

import pytest
import torch

from harness.measure.device_memory import DeviceMemory, give_back, is_exhausted
from harness.metrics import memory
from harness.metrics.base import Cell


class Allocator:
    """Counts as torch's does, for one device."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = self.most = 0
        self.devices: list[torch.device] = []
        patch.setattr(torch.cuda, "memory_allocated", lambda device: self._told(device, self.now))
        patch.setattr(torch.cuda, "max_memory_allocated", lambda device: self._told(device, self.most))
        patch.setattr(torch.cuda, "reset_peak_memory_stats", self._reset)

    def take(self, count: int) -> None:
        self.now += count
        self.most = max(self.most, self.now)

    def _told(self, device: torch.device, value: int) -> int:
        self.devices.append(device)
        return value

    def _reset(self, device: torch.device) -> None:
        self.most = self.now


def test_each_system_is_charged_with_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    allocator = Allocator(monkeypatch)
    first, second = DeviceMemory("cuda:1"), DeviceMemory("cuda:1")
    allocator.take(1000)  # the target
    with first.built():
        allocator.take(300)
        allocator.take(-100)
    with second.built():
        allocator.take(50)
    assert (first.peak, second.peak) == (200, 50)
    with first.used():
        allocator.take(70)
        allocator.take(-70)
    with second.used():
        allocator.take(5)
        allocator.take(-5)
    assert (first.peak, second.peak) == (270, 55)
    assert set(allocator.devices) == {torch.device("cuda:1")}, "the second device, not the current one"


def test_a_host_measures_nothing() -> None:
    of_host = DeviceMemory("cpu")
    with of_host.built(), of_host.used():
        pass
    assert of_host.peak is None
    assert "peak_device_bytes" not in memory.measure(Cell([]))
    assert memory.measure(Cell([], device_bytes=7))["peak_device_bytes"].value == 7


def test_only_a_full_device_is_one() -> None:
    assert is_exhausted(torch.OutOfMemoryError("CUDA out of memory."))
    assert not is_exhausted(RuntimeError("CUDA error: an illegal memory access was encountered"))
    give_back()
