"""The right answer as an instruction-tuned model words it is right."""

from __future__ import annotations

import pytest

from harness import datasets
from harness.config.bench import DatasetConfig
from harness.datasets.fences import code

PROMPT = 'def one() -> int:\n    """Return 1."""\n'
BODY = "    return 1\n"


@pytest.mark.parametrize(
    "answer",
    [
        BODY,
        f"{BODY}\ndef other():\n    return 2\n",
        f"Here is the function:\n\n```python\n{PROMPT}{BODY}```\n",
        f"Here it is:\n```\n{PROMPT}{BODY}```\nIt works.\n\n```python\nassert one() == 2\n```\n",
        f"```python\nimport math\n\n{PROMPT}{BODY}```\n",
        f"```python\n{BODY}```\n",
        f"```python\n{BODY}",
        f"```python title='one.py'\n{BODY}```",
        f"{BODY}```\n\nThis works.\n",
        f"{BODY}```\nTry it:\n```python\none()\n```\n",
        f"\n{PROMPT}{BODY}",
        f"import math\n\n{PROMPT}{BODY}\nprint(one(\n)\n",
        f"def helper(\n):\n    return 1\n\n{PROMPT}    return helper()\nThis returns what the helper does.\n",
    ],
)
@pytest.mark.parametrize("name", ["humaneval", "exercises"])
def test_a_right_answer_is_right_however_it_is_worded(name: str, answer: str) -> None:
    kept = datasets.spec_of(DatasetConfig(name)).completion(answer)
    scope: dict[str, object] = {}
    exec(f"{PROMPT}{kept}\n", scope)
    one = scope["one"]
    assert callable(one)
    assert one() == 1


def test_what_is_no_fence_stays() -> None:
    for text in ("    return 'a ``` b'\n", "    return ```\n", ""):
        assert code(text) == (text, False)


def test_a_function_without_a_prompt_ends_at_its_fence() -> None:
    assert code("def f():\n    return 1\n```\nDone.") == ("def f():\n    return 1\n", False)


def test_what_begins_otherwise_is_what_the_prompt_goes_on_with() -> None:
    for text in ("x = 1\ndef f():\n    return 1\n", "    return 1\n\ndef f():\n    return 2\n", "import math\n"):
        assert code(text) == (text, False)


def test_only_programs_have_fences() -> None:
    answer = "```\n#### 4\n```"
    assert datasets.spec_of(DatasetConfig("gsm8k")).completion(answer) == answer
