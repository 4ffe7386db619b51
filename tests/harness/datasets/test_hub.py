"""A hub on this machine: what the printed commands fetch is what a run reads, and nothing else passes for it."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from harness import datasets
from harness.config.bench import DatasetConfig
from harness.datasets.spec import Hub
from systems.api import BadInput
from tests.harness.datasets.test_files import GSM8K, MT_BENCH, _lines, as_the_hub_has_it

FILES: dict[str, bytes] = {}
"""What the hub has, by address."""


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        self.wfile.write(self._head())

    def _head(self) -> bytes:
        content = FILES.get(self.path)
        self.send_response(404 if content is None else 200)
        if content is not None:
            self.send_header("X-Repo-Commit", self.path.split("/")[5])
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        return content or b""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    """The address of the hub."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def fetch(name: str, content: bytes, hub: str, home: Path) -> None:
    """Offer a file in the place of a dataset's, and run the command that is printed for it."""
    source = datasets.SPECS[name].source
    assert isinstance(source, Hub)
    FILES[f"/datasets/{source.repo}/resolve/{source.revision}/{source.file}"] = content
    program, *words = shlex.split(source.command)
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "NO_PROXY": "*"}
    command = [str(Path(sys.executable).with_name(program)), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where what was fetched is kept; nothing can be fetched from this process."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_what_the_printed_command_fetches_is_what_a_run_reads(hub: str, home: Path) -> None:
    with pytest.raises(BadInput, match="is not on this machine"):
        datasets.load(DatasetConfig("mt_bench"))
    fetch("mt_bench", _lines(MT_BENCH), hub, home)
    assert [prompt.text for prompt in datasets.load(DatasetConfig("mt_bench"))] == ["Write."]


def test_a_hub_that_has_something_else_at_the_pinned_place_is_refused(hub: str, home: Path) -> None:
    other = as_the_hub_has_it("gsm8k", home / "other").read_bytes()
    assert len(GSM8K) == 2  # of 1,319
    fetch("gsm8k", other, hub, home)
    with pytest.raises(BadInput, match=r"test-00000-of-00001\.parquet is not the pinned file: its SHA-256 is"):
        datasets.load(DatasetConfig("gsm8k"))
