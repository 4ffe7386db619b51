"""MBPP (arXiv 2108.07732): 500 test problems; text and first test as a docstring, as code models are evaluated."""

from __future__ import annotations

from harness.datasets.spec import Code, Hub, Row, Spec


def prompt(row: Row) -> str:
    """Return the task and one of its tests as a docstring, for the name of the function."""
    return f'"""\n{row["text"]}\n{row["test_list"][0]}\n"""\n'


def program(row: Row, completion: str) -> str:
    """Return a completion with the problem's set-up before it and its tests behind."""
    tests = "\n".join(row["test_list"])
    return f"{row['test_setup_code']}\n{prompt(row)}{completion}\n\n{tests}\n"


SPEC = Spec(
    name="mbpp",
    about="500 basic Python problems (arXiv 2108.07732)",
    source=Hub(
        "google-research-datasets/mbpp", "4bb6404fdc6cacfda99d4ac4205087b89d32030c", "full/test-00000-of-00001.parquet"
    ),
    columns={"task_id": int, "text": str, "test_list": list, "test_setup_code": str},
    prompt=prompt,
    id=lambda row, number: f"mbpp/{row['task_id']}",
    task=Code(program),
    stop=("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n```"),
)
