"""The one door: `python -m harness COMMAND WORDS`; see `harness.commands.table`.

Without a command the words go to `bench`; the name of an experiment stands for `bench experiment=NAME`. Folders of
results are plain words, everything else is `key=value`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.commands.table import COMMANDS, ROOMS
from harness.config.compose import CONF
from harness.records.provenance import COMMAND

DEFAULT = "bench"


def main(name: str | None = None) -> int:
    """Run the command that `sys.argv` names, or `name`; return its exit code, 2 for a command that there is not."""
    words = sys.argv[1:]
    if name is None and not words:
        sys.stdout.write(overview())
        return 0
    command, words = (name, words) if name else chosen(words)
    if command not in COMMANDS:
        sys.stderr.write(f"error: there is no command `{command}`{_nearest(command)}; see python -m harness\n")
        return 2
    # The command is what provenance names, and all that Hydra and argparse see.
    sys.argv = [f"{COMMAND} {command}" if Path(sys.argv[0]).stem == COMMAND else command, *words]
    code: int = importlib.import_module(COMMANDS[command].module).main()
    return code


def chosen(words: Sequence[str]) -> tuple[str, list[str]]:
    """Divide typed words into a command and its own words."""
    first, *rest = words
    if first in COMMANDS:
        return first, rest
    if first.startswith("-") or "=" in first:
        return DEFAULT, list(words)
    if (experiment := first.replace("-", "_")) in _experiments():
        return DEFAULT, [f"experiment={experiment}", *rest]
    return first.replace("-", "_"), rest


def overview() -> str:
    """Return the list of all commands."""
    width = max(map(len, COMMANDS))
    lines = ["python -m harness COMMAND key=value ...    (--help after a command says more)"]
    for room, commands in ROOMS.items():
        lines += ["", room]
        lines += [f"  {name:<{width}}  {command.about}" for name, command in commands.items()]
    lines += ["", "An experiment is a command too: " + ", ".join(name.replace("_", "-") for name in _experiments())]
    return "\n".join(lines) + "\n"


def _experiments() -> list[str]:
    return sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def _nearest(word: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, [*COMMANDS, *_experiments()], n=1, cutoff=0.5)
    return f"; did you mean `{near[0]}`?" if near else ""
