"""Fill the tables of README.md and `docs/` from published results, so that no number there is typed by hand.

    python -m harness pages

A page says between two comments what stands there: the tables of a result set, or one line per system with the profiles
side by side.

    <!-- tables results/bench -->
    <!-- end -->

    <!-- profiles results/bench-all -->
    <!-- end -->
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path

from harness.cli.launch import OK, typed
from harness.records.files import write_text
from harness.records.published import Missing, read_set
from harness.records.summary_file import Row
from harness.tables import suite
from systems.api import BadInput

_BLOCK = re.compile(r"(<!-- (\w+) (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_REMEDY = "the command of docs/regenerate.md"
_SHOWN = {
    "tpot": ("TPOT ms", 1e3, ".2f"),
    "oracle_gap": ("gap", 1.0, ".2f"),
    "bytes_per_token": ("MiB/token", 2**-20, ".1f"),
}
"""Metric, to heading, factor and format, of a system's line per profile."""


def main() -> int:
    """Command line; 0, or 2 where a page names what is not there."""
    return typed(_main)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), help="the checkout")
    folder = parser.parse_args().folder
    for page in pages(folder):
        before = page.read_text(encoding="utf-8")
        after = filled(before, folder)
        if after != before:
            write_text(page, after)
            sys.stdout.write(f"{page}: filled\n")
    return OK


def pages(folder: Path) -> list[Path]:
    """README.md and the pages of `docs/` in a checkout."""
    return [folder / "README.md", *sorted((folder / "docs").glob("*.md"))]


def filled(page: str, folder: Path) -> str:
    """Return a page with what its comments name, read from the results in `folder`.

    Raises:
        BadInput: a comment of an unknown kind.
        Missing, Unreadable: see `harness.records.published`.
    """

    def fill(block: re.Match[str]) -> str:
        begin, kind, results, _, end = block.groups()
        if kind not in KINDS:
            raise BadInput(f"<!-- {kind} {results} --> is unknown; there are: {', '.join(KINDS)}")
        return f"{begin}\n{KINDS[kind](folder / results).strip()}\n\n{end}"

    return _BLOCK.sub(fill, page)


def _tables(results: Path) -> str:
    """A set's tables as they were published, without the remarks below them."""
    table = results / "table.md"
    if not table.is_file():
        raise Missing(f"{table} is missing; make it with: {_REMEDY}")
    lines = table.read_text(encoding="utf-8").splitlines()
    return "\n".join(takewhile(lambda line: not line.startswith("- "), lines))


def _profiles(results: Path) -> str:
    """A line per system with every profile's time, gap and bytes."""
    blocks = suite.blocks([row for summary in read_set(results, _REMEDY) for row in summary.rows])
    profiles = {block[0]["hardware"]: {row["system"]: row for row in block} for block in blocks}
    headings = [f"{profile}: {heading}" for profile in profiles for heading, _, _ in _SHOWN.values()]
    systems = dict.fromkeys(row["system"] for block in blocks for row in block)
    lines = [("system", *headings), ("---", *["---:"] * len(headings))]
    lines += [(_name(system, profiles), *_cells(system, profiles)) for system in systems]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _name(system: str, profiles: Mapping[str, Mapping[str, Row]]) -> str:
    lossless = all(rows[system]["lossless"] for rows in profiles.values() if system in rows)
    return f"`{system}`" if lossless else f"`{system}` (lossy)"


def _cells(system: str, profiles: Mapping[str, Mapping[str, Row]]) -> Iterator[str]:
    for rows in profiles.values():
        metrics = rows[system]["metrics"] if system in rows else {}
        for metric, (_, factor, form) in _SHOWN.items():
            value = metrics.get(metric, {}).get("value")
            yield "-" if value is None else format(value * factor, form)


KINDS: dict[str, Callable[[Path], str]] = {"tables": _tables, "profiles": _profiles}


if __name__ == "__main__":
    sys.exit(main())
