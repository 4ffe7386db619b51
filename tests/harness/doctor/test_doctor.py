"""The doctor: each disturbance is found, named with its numbers and mended by what it says; a good machine has none."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.doctor import __main__ as doctor
from harness.doctor import probes as doctor_probes
from harness.doctor.findings import Machine, findings, quota
from harness.doctor.probes import Spread
from tests.harness import fake

GOOD = Machine(
    cpus=4, load=0.05, stolen=0.0, work=Spread(1e-3, 1.02e-3, 1.5e-3), oversleep=Spread(5e-5, 6e-5, 1e-4),
    layers={1: 1e-3, 2: 0.95e-3, 4: 0.7e-3}, copy=1e-4, transfer=1e-3, needed=2**28, available=2**34, swap_used=0,
    governor="performance", quota=None, threads=1, variables={"OMP_NUM_THREADS": "1"},
)  # fmt: skip


def test_a_good_machine_has_no_findings() -> None:
    assert findings(GOOD) == []


@pytest.mark.parametrize(
    ("change", "what", "remedy"),
    [
        ({"load": 1.8}, "others keep 1.8 of 4 processors busy", "wait"),
        ({"stolen": 0.2}, "takes 20% of the time", "yours alone"),
        ({"work": Spread(1e-3, 1.5e-3, 2e-3)}, "50% longer", "measure.repeats"),
        ({"cpus": 1}, "one processor", "replay=FOLDER"),
        ({"quota": 1.5}, "1.5 of 4 processors", "quota"),
        ({"threads": 4}, "none is left to the link", "measure.threads=3"),
        ({"layers": {1: 1e-3, 2: 0.5e-3}}, "1.00 ms with 1 threads, 0.50 ms with 2", "measure.threads=2"),
        ({"variables": {}}, "OMP_NUM_THREADS", "export OMP_NUM_THREADS=1"),
        ({"governor": "powersave"}, "powersave", "performance"),
        ({"needed": 2**35}, "32.0 GiB are needed and 16.0 GiB free", "model.store=checkpoint"),
        ({"swap_used": 2**30}, "1.0 GiB are swapped out", "swapoff"),
        ({"oversleep": Spread(5e-4, 6e-4, 1e-3)}, "0.50 ms too long", "leave one"),
        ({"copy": 2e-3}, "longer than the 1.00 ms", "hardware=coarse"),
    ],
)
def test_a_disturbance_is_found_with_its_remedy(change: dict[str, Any], what: str, remedy: str) -> None:
    (found,) = findings(replace(GOOD, **change))
    assert what in found.what
    assert remedy in found.remedy


def test_without_a_paced_link_its_precision_does_not_matter() -> None:
    assert findings(replace(GOOD, transfer=None, copy=1.0, oversleep=Spread(1.0, 1.0, 1.0))) == []


def test_probes_measure_what_they_say(tmp_path: Path) -> None:
    assert 0 < doctor_probes.clock_step() < 1e-3
    assert 0 <= doctor_probes.oversleep(1e-3).median < 1
    assert 1e6 < doctor_probes.memory_bandwidth(2**20) < 1e13
    file = tmp_path / "weights"
    file.write_bytes(bytes(2**20))
    assert doctor_probes.disk_bandwidth(file, 2**16) or not hasattr(doctor_probes.os, "posix_fadvise")
    assert doctor_probes.disk_bandwidth(file, 2**21) is None, "a file smaller than a record tells nothing"
    share = doctor_probes.stolen_share(0.05)
    assert share is None or 0 <= share <= 1
    assert quota() is None or quota() > 0


def test_a_spread_is_of_measured_values() -> None:
    found = doctor_probes.spread([4.0, 1.0, 2.0, 3.0, 100.0])
    assert (found.median, found.high, found.worst) == (3.0, 4.0, 100.0)
    assert found.disturbance == pytest.approx(1 / 3)


def test_the_command_prints_facts_and_findings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hydra.core.global_hydra import GlobalHydra

    fake.install(monkeypatch.setattr)
    monkeypatch.setattr(doctor_probes, "SLAB_BYTES", 2**20)
    monkeypatch.setattr(doctor.os, "getloadavg", lambda: (9.0, 9.0, 9.0))
    monkeypatch.setattr(sys, "argv", ["harness.doctor.__main__"])
    GlobalHydra.instance().clear()
    assert doctor.main() == 0
    said = " ".join(capsys.readouterr().out.split())
    for text in ("target layer at one token", "GB/s", "one expert on the emulated link", "steps of", "GPU"):
        assert text in said, text
    assert "others keep 9.0" in said
    monkeypatch.setattr(sys, "argv", ["harness.doctor.__main__", "hardware=corse"])
    GlobalHydra.instance().clear()
    assert doctor.main() == 2
    assert "did you mean `coarse`" in capsys.readouterr().err
