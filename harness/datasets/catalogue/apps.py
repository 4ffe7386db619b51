"""APPS (arXiv 2105.09938): competitive programming; the test problems that come with tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from harness.datasets.spec import Code, Hub, Located, Row, Spec

STANDARD_INPUT = """
import io, sys
for given, expected in CASES:
    sys.stdin, sys.stdout = io.StringIO(given), io.StringIO()
    try:
        exec(compile(SOLUTION, "solution.py", "exec"), {"__name__": "__main__"})
    except SystemExit:
        pass  # a program may end that way
    finally:
        printed, sys.stdout = sys.stdout.getvalue(), sys.__stdout__
    assert printed.split() == expected.split(), given
"""
CALL_BASED = """
space = {"__name__": "solution"}
exec(compile(SOLUTION, "solution.py", "exec"), space)
function = space[NAME] if NAME in space else getattr(space["Solution"](), NAME)
for given, expected in CASES:
    result = function(*given)
    result = list(result) if isinstance(result, tuple) else result
    assert result == expected or [result] == expected, given
"""


def prompt(row: Row) -> str:
    """Return the question as APPS's own evaluation puts it."""
    starter = f"\n{row['starter_code']}" if row["starter_code"] else ""
    kind = "Call-Based" if row["starter_code"] else "Standard Input"
    return f"\nQUESTION:\n{row['question']}{starter}\nUse {kind} format\n\nANSWER:\n"


def program(row: Row, completion: str) -> str:
    """Return a program that runs a completion on every case."""
    tests = json.loads(row["input_output"])
    name = tests.get("fn_name")
    cases = [(_text(given, name), _text(wanted, name)) for given, wanted in zip(*_sides(tests), strict=True)]
    head = f"SOLUTION = {completion!r}\nCASES = {cases!r}\n"
    return head + (f"NAME = {name!r}\n{CALL_BASED}" if name else STANDARD_INPUT)


def tested(rows: Iterable[Located]) -> Iterator[Located]:
    """Leave out problems without tests: nothing could be said of an answer."""
    return ((where, row) for where, row in rows if row["input_output"])


def _sides(tests: Row) -> tuple[list[object], list[object]]:
    return tests["inputs"], tests["outputs"]


def _text(side: object, name: str | None) -> object:
    """Return one side of a case; lines on standard input and output may come as a list."""
    return side if name or isinstance(side, str) else "\n".join(map(str, side if isinstance(side, list) else [side]))


SPEC = Spec(
    name="apps",
    about="competitive programming, test problems that have tests (arXiv 2105.09938)",
    source=Hub("codeparrot/apps", "21e74ddf8de1a21436da12e3e653065c5213e9d1", "test.jsonl"),
    columns={"question": str, "starter_code": str, "input_output": str},
    prompt=prompt,
    id=lambda row, number: f"apps/{number}",
    task=Code(program),
    stop=("\nQUESTION:", "\n---", "\nANSWER:"),
    problems=tested,
)
