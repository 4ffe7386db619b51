"""Programs that mean harm end in the right verdict, within their limits, and leave the machine as it was."""

import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.sandbox import Limits, Outcome, run_programs
from harness.sandbox.levels import FIRST_USER, USERS, WEAK
from harness.sandbox.run import strongest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
PROGRAMS = sorted(Path(__file__).with_name("hostile").glob("*.py"))
LIMITS = Limits(wall=5, cpu=1, memory=256 << 20, processes=16, files=4 << 20, output=1 << 16)


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


@pytest.fixture(scope="module")
def outcomes(outside: Path, server: socket.socket) -> dict[str, Outcome]:
    if strongest() is WEAK:
        pytest.skip("this machine grants no isolation by the kernel; programs like these are not run without")
    port = str(server.getsockname()[1])
    sources = [
        path.read_text(encoding="utf-8").replace("{outside}", str(outside)).replace("{port}", port) for path in PROGRAMS
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_TEST_SECRET", "of the harness")
        return dict(zip((path.stem for path in PROGRAMS), run_programs(sources, LIMITS), strict=True))


def test_there_are_many() -> None:
    assert len(PROGRAMS) >= 40


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_verdict(path: Path, outcomes: dict[str, Outcome]) -> None:
    need, outcome = header(path, "needs"), outcomes[path.stem]
    if need and need not in outcome.isolation:
        pytest.skip(f"needs {need}; this machine grants {outcome.isolation}")
    assert outcome.verdict == header(path, "verdict"), outcome


def test_all_ended_in_time(outcomes: dict[str, Outcome]) -> None:
    slack = 5.0  # starting and ending a sandbox on a busy machine
    assert [name for name, outcome in outcomes.items() if outcome.seconds > LIMITS.wall + slack] == []


def test_nothing_is_left(outcomes: dict[str, Outcome], outside: Path, server: socket.socket, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    assert psutil.Process().children(recursive=True) == []
    users = range(FIRST_USER, FIRST_USER + USERS)
    assert [process for process in psutil.process_iter() if _user(process) in users] == []
    kept = outside / "kept"
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert kept.read_text(encoding="utf-8") == "kept"
    assert kept.stat().st_mtime > 0
    with pytest.raises(BlockingIOError):
        server.accept()
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob("sandbox-*"))


def test_isolation_is_named(outcomes: dict[str, Outcome]) -> None:
    assert {outcome.isolation for outcome in outcomes.values()} == {strongest().isolation}


def _user(process: object) -> int:
    try:
        return int(process.uids().real)  # type: ignore[attr-defined]
    except Exception:
        return -1
