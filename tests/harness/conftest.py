from __future__ import annotations

from pathlib import Path

import pytest

from harness.commands import suite
from tests.harness.app import App, make


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> App:
    """The command line over fakes, in an empty folder."""
    return make(monkeypatch, capsys, tmp_path)


@pytest.fixture
def suite_app(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> App:
    """`python -m harness suite` over fakes, in an empty folder."""
    return make(monkeypatch, capsys, tmp_path, suite.main)
