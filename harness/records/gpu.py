"""What is known of the machine's GPUs: as torch sees them, and what only the driver's own tool says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

DRIVERS = tuple(Path("/dev") / name for name in ("nvidiactl", "kfd", "dxg"))
FIELDS = {
    "driver": "driver_version",
    "pcie_generation": "pcie.link.gen.current",
    "pcie_generation_max": "pcie.link.gen.max",
    "pcie_width": "pcie.link.width.current",
    "clock_mhz": "clocks.sm",
    "clock_max_mhz": "clocks.max.sm",
    "memory_clock_mhz": "clocks.mem",
    "power_limit_w": "power.limit",
}
"""What is recorded, and what `nvidia-smi --query-gpu` calls it."""


def describe() -> list[dict[str, Any]]:
    """Return one entry per device that torch may use, in its order; none without a driver."""
    if sys.platform == "linux" and not any(driver.exists() for driver in DRIVERS):
        return []  # torch would say so too, but takes a second to load
    import torch

    if not torch.cuda.is_available():
        return []
    told = _smi()
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [
        {"name": device.name, "bytes": device.total_memory, "cuda": torch.version.cuda}
        | told.get(str(getattr(device, "uuid", "")), {})
        for device in devices
    ]


def _smi() -> dict[str, dict[str, str]]:
    """Return what the driver's tool says, by the device's identifier; nothing where it does not run."""
    query = ",".join(("uuid", *FIELDS.values()))
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return read(run.stdout)


def read(answer: str) -> dict[str, dict[str, str]]:
    """Read the tool's lines; a field that a device does not have is left out."""
    found = {}
    for line in answer.strip().splitlines():
        uuid, *values = (value.strip() for value in line.split(","))
        known = zip(FIELDS, values, strict=False)
        found[uuid.removeprefix("GPU-")] = {name: value for name, value in known if not value.startswith("[")}
    return found
