"""What is recorded of GPUs, from an answer as nvidia-smi gives it."""

from __future__ import annotations

from harness.records import gpu

ANSWER = """\
GPU-5f1c, 570.86.15, 5, 5, 16, 1980, 1980, 2619, 700.00
GPU-77aa, 570.86.15, 4, [N/A], 8, 1410, 1410, 1215, [N/A]
"""


def test_the_drivers_answer_is_read_by_device() -> None:
    found = gpu.read(ANSWER)
    assert list(found) == ["5f1c", "77aa"]
    assert found["5f1c"] == {
        "driver": "570.86.15",
        "pcie_generation": "5",
        "pcie_generation_max": "5",
        "pcie_width": "16",
        "clock_mhz": "1980",
        "clock_max_mhz": "1980",
        "memory_clock_mhz": "2619",
        "power_limit_w": "700.00",
    }
    assert found["77aa"].keys() == found["5f1c"].keys() - {"pcie_generation_max", "power_limit_w"}


def test_without_a_driver_there_is_nothing_to_say(monkeypatch: object) -> None:
    assert gpu.read("") == {}
