"""File what came back from a device under results/device/NAME.

    python -m harness.gpu_bench.take FOLDER NAME

FOLDER holds the kit's files (its OUTPUT/back); NAME is what the device is called here, e.g. h100. Results of a
rehearsal, or of code that is not known here, are refused.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.cli.launch import typed
from harness.gpu_bench.kit import SCHEMA
from harness.records import provenance
from harness.records.files import dump, write_text
from harness.records.summary_file import FILE
from systems.api import BadInput

KEPT = (FILE, "table.md", "provenance.json")
"""Of each comparison."""
COPIED = ("junit.xml", "sample.json.gz", "profile.json.gz")


def main() -> int:
    """Take for `sys.argv`; exit codes are those of `harness.cli.launch.main`."""
    parser = argparse.ArgumentParser(prog="python -m harness.gpu_bench.take")
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--results", type=Path, default=provenance.ROOT / "results" / "device")
    arguments = parser.parse_args()
    return typed(lambda: _take(arguments.folder, arguments.name, arguments.results))


def take(folder: Path, name: str, results: Path) -> list[Path]:
    """Check and file; return what has been written.

    Raises:
        BadInput: files that are not the kit's, a rehearsal, unknown or changed code, code of another commit,
            or a name that is no folder's.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name):
        raise BadInput(f"{name!r} is no name for a folder of results; take one such as h100")
    kit = _checked(folder)
    target = results / name
    if target.exists():
        raise BadInput(f"{target} exists; move it away, or take another name")
    target.mkdir(parents=True)
    write_text(target / "kit.json", dump(kit, indent=1))
    for file in COPIED:
        if (folder / file).exists():
            shutil.copy(folder / file, target / file)
    if (folder / "results.tar.gz").exists():
        _unpack(folder / "results.tar.gz", target)
    return sorted(path for path in target.rglob("*") if path.is_file())


def _checked(folder: Path) -> dict[str, Any]:
    """Return what the kit says, if it can be believed."""
    file = folder / "kit.json"
    try:
        kit: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} cannot be read ({error}); give the folder that the kit has written") from error
    if kit.get("schema") != SCHEMA:
        raise BadInput(f"{file} has the schema {kit.get('schema')!r}, not {SCHEMA!r}")
    if kit["tiny"] or not kit["device"].startswith("cuda"):
        raise BadInput(f"{file} is of a rehearsal (device {kit['device']}): it says nothing about a device")
    if not kit["commit"] or kit["dirty"] is not False:
        raise BadInput(f"{file} is of commit {kit['commit']}, changed: {kit['dirty']}; run the kit from a clean commit")
    known = subprocess.run(
        ["git", "cat-file", "-e", f"{kit['commit']}^{{commit}}"], cwd=provenance.ROOT, capture_output=True, check=False
    )
    if known.returncode:
        raise BadInput(f"{file} is of commit {kit['commit']}, which is not known here; fetch it first")
    if kit.get("code") != code_of(kit["commit"]):
        raise BadInput(f"{file} says commit {kit['commit']}, whose code is another than what ran: "
                       "python -m harness.gpu_bench.prepare was not run again after a change")  # fmt: skip
    return kit


def code_of(commit: str) -> str:
    """Return `provenance.code_fingerprint` of a commit that is known here."""
    command = ["git", "archive", commit, *provenance.SOURCES]
    archive = subprocess.run(command, cwd=provenance.ROOT, capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(folder, filter="data")
        return provenance.code_fingerprint(Path(folder))


def _unpack(archive: Path, target: Path) -> None:
    """Keep the comparisons' summaries, tables and provenance."""
    with tarfile.open(archive) as packed:
        for member in packed.getmembers():
            place = Path(member.name)
            if member.isfile() and place.name in KEPT and len(place.parts) == 3 and place.parts[0] == "results":
                content = packed.extractfile(member)
                assert content is not None
                file = target / place.parts[1] / place.name
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(content.read())


def _take(folder: Path, name: str, results: Path) -> int:
    written = take(folder, name, results)
    for file in written:
        Console().print(f"{file.relative_to(results.parent)}: {file.stat().st_size:,} B", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
