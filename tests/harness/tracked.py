"""Runs that wandb has written offline, read back with its own reader."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Tracked:
    """What one `.wandb` file holds."""

    folder: Path
    run: dict[str, Any]
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    artifacts: list[dict[str, Any]]

    def points(self, axis: str) -> list[dict[str, Any]]:
        return [line for line in self.history if axis in line]

    def media(self, name: str) -> dict[str, Any]:
        """What was logged once under a name, whose parts the reader gives as `name.part`."""
        start = f"{name}."
        (found,) = [line for line in self.history if any(key.startswith(start) for key in line)]
        return {key.removeprefix(start): value for key, value in found.items() if key.startswith(start)}

    def file(self, name: str) -> str:
        return (self.folder / "files" / self.media(name)["path"]).read_text()


def read(folder: Path) -> Tracked:
    from wandb.util import get_core_path

    (file,) = folder.glob("*.wandb")
    command = [get_core_path(), "leet", "inspect", "-no-observability", "-json", "-run-file", str(file)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    records = [json.loads(line) for line in told.splitlines()]
    of = {kind: [one[kind] for one in records if one["type"] == kind] for kind in ("run", "history", "artifact")}
    summary: dict[str, Any] = {}
    for record in records:
        summary |= record["summary"].get("update", {}) if record["type"] == "summary" else {}
    (run,) = of["run"]
    history = [line["item"] for line in of["history"]]
    artifacts = [one for one in of["artifact"] if one["type"] == "records"]  # tables are kept as artifacts, too
    return Tracked(folder, run, run["config"]["update"], history, summary, artifacts)
