"""The rule `fences@2`: the code in an answer that is worded for people, as instruction-tuned models word theirs."""

from __future__ import annotations

import ast
import re

FENCES = "fences@2"
"""Its name in the definitions of scores."""
_FENCE = re.compile(r"^ {0,3}```[ \t]*([\w+#.-]*)[^\n`]*$", re.MULTILINE)
_WHOLE = re.compile(r"^(?:async )?def |^class ", re.MULTILINE)
_BEGINS = re.compile(r"\s*^(?:(?:async )?def |class |import |from |@)", re.MULTILINE)
_ENDS = re.compile(r"^(?!(?:async )?def |class |import |from |[@\s)\]}])", re.MULTILINE)
"""What stands in the first column and begins neither a definition nor an import, nor closes a bracket."""


def code(text: str) -> tuple[str, bool]:
    """Return the code of an answer, and whether it stands for itself: it defines its function anew.

    Without a fence (a line of three backticks) the answer is its code; one that begins with a definition ends behind
    its definitions. A first fence behind code closes: what was continued is over there. Any other opens a block, which
    ends at the next fence; the rest is talk.
    """
    first = _FENCE.search(text)
    if first is None:
        return _unfenced(text)
    before = text[: first.start()]
    if not first[1] and _is_code(before):
        return before, False
    closing = _FENCE.search(text, first.end())
    block = text[first.end() + 1 : closing.start() if closing else len(text)]
    return block, _WHOLE.search(block) is not None


def _unfenced(text: str) -> tuple[str, bool]:
    """What `code` returns for an answer without a fence."""
    if _BEGINS.match(text) is None or _WHOLE.search(text) is None:
        return text, False
    end = _ENDS.search(text)
    return text[: end.start()] if end else text, True


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
