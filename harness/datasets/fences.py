"""The rule `fences@1`: the code in an answer that is worded for people, as instruction-tuned models word theirs."""

from __future__ import annotations

import ast
import re

FENCES = "fences@1"
"""Its name in the definitions of scores."""
_FENCE = re.compile(r"^ {0,3}```[ \t]*([\w+#.-]*)[^\n`]*$", re.MULTILINE)
_WHOLE = re.compile(r"^(?:async )?def |^class ", re.MULTILINE)


def code(text: str) -> tuple[str, bool]:
    """Return the code of an answer, and whether it stands for itself: a block that defines its function anew.

    Without a fence (a line of three backticks) the answer is its code. A first fence behind code closes: what was
    continued is over there. Any other opens a block, which ends at the next fence; the rest is talk.
    """
    first = _FENCE.search(text)
    if first is None:
        return text, False
    before = text[: first.start()]
    if not first[1] and _is_code(before):
        return before, False
    closing = _FENCE.search(text, first.end())
    block = text[first.end() + 1 : closing.start() if closing else len(text)]
    return block, _WHOLE.search(block) is not None


def _is_code(text: str) -> bool:
    """Whether it goes on with an indented body, or can be parsed."""
    if not text.strip():
        return False
    if text.lstrip("\n")[0] in " \t":
        return True
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
