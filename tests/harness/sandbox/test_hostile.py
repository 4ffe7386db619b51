"""Programs that mean harm end in the right verdict, within their limits, and leave the machine as it was."""

import dataclasses
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.sandbox import Limits, Outcome, run_programs
from harness.sandbox.levels import FIRST_USER, USERS, WEAK
from harness.sandbox.run import strongest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
PROGRAMS = sorted(Path(__file__).with_name("hostile").glob("*.py"))
SLACK = 20.0
"""Seconds that starting and ending a sandbox may take on a busy machine."""
LIMITS = Limits(wall=20, cpu=1, memory=256 << 20, processes=16, files=4 << 20, output=1 << 16)


def header(path: Path, name: str) -> str | None:
    """What a program's first lines say of it."""
    found = re.search(rf"^# {name}: (\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the host that must stay as it is."""
    folder = tmp_path_factory.mktemp("outside")
    folder.chmod(0o777)
    (folder / "kept").write_text("kept", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[socket.socket]:
    """A server of the host that must hear nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


def execute(path: Path, outside: Path, server: socket.socket) -> Outcome:
    """Run one program, which may be hard on a machine where only the audit hook holds it."""
    if strongest() is WEAK:
        pytest.skip("this machine grants no isolation by the kernel; programs like these are not run without")
    if (need := header(path, "needs")) and need not in strongest().isolation:
        pytest.skip(f"needs {need}; this machine grants {strongest().isolation}")
    port = str(server.getsockname()[1])
    source = path.read_text(encoding="utf-8").replace("{outside}", str(outside)).replace("{port}", port)
    wall, cpu = float(header(path, "wall") or LIMITS.wall), int(header(path, "cpu") or LIMITS.cpu)
    limits = dataclasses.replace(LIMITS, wall=wall, cpu=cpu)
    return run_programs([source], limits)[0]


def test_there_are_many() -> None:
    assert len(PROGRAMS) >= 40


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_verdict(path: Path, outside: Path, server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_TEST_SECRET", "of the harness")
    outcome = execute(path, outside, server)
    assert outcome.verdict == header(path, "verdict"), outcome
    assert outcome.isolation == strongest().isolation
    assert outcome.seconds < LIMITS.wall + SLACK
    assert [found.name for found in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text(encoding="utf-8") == "kept"
    assert (outside / "kept").stat().st_mtime > 0
    with pytest.raises(BlockingIOError):
        server.accept()


@pytest.fixture(scope="module", autouse=True)
def others() -> set[Any]:
    """Children of this process that other tests have left, as the service that wandb keeps."""
    psutil = pytest.importorskip("psutil")
    return set(psutil.Process().children(recursive=True))


def test_nothing_is_left(others: set[Any]) -> None:
    """After all of the above: no child, no process of a sandbox's user, no folder."""
    psutil = pytest.importorskip("psutil")
    assert set(psutil.Process().children(recursive=True)) <= others
    deadline = time.monotonic() + 60  # tests that run beside these have sandboxes of their own, which end
    while (left := _left_over()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def _left_over() -> list[Any]:
    psutil = pytest.importorskip("psutil")
    users = range(FIRST_USER, FIRST_USER + USERS)
    processes = [process for process in psutil.process_iter(["uids"]) if _user(process) in users]
    return [*processes, *Path(tempfile.gettempdir()).glob("sandbox-*")]


def _user(process: Any) -> int:
    uids = process.info["uids"]
    return uids.real if uids else -1
