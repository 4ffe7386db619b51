"""Alpaca: 52,002 instructions, in the prompt that Alpaca was trained with (github.com/tatsu-lab/stanford_alpaca)."""

from __future__ import annotations

from harness.datasets.spec import Hub, Row, Spec, Unscored

TASK = "Below is an instruction that describes a task"


def prompt(row: Row) -> str:
    """Return the instruction, with its input where there is one."""
    if not row["input"]:
        head = f"{TASK}. Write a response that appropriately completes the request."
        return f"{head}\n\n### Instruction:\n{row['instruction']}\n\n### Response:\n"
    head = f"{TASK}, paired with an input that provides further context."
    head = f"{head} Write a response that appropriately completes the request."
    return f"{head}\n\n### Instruction:\n{row['instruction']}\n\n### Input:\n{row['input']}\n\n### Response:\n"


SPEC = Spec(
    name="alpaca",
    about="52,002 instructions (github.com/tatsu-lab/stanford_alpaca)",
    source=Hub(
        "tatsu-lab/alpaca",
        "dce01c9b08f87459cf36a430d809084718273017",
        "data/train-00000-of-00001-a09b74b3ef9c3b56.parquet",
        "06391b656a06fd3fb9d213160ef2398796c3b7f3dc75ef1e3ced30d461517073",
    ),
    columns={"instruction": str, "input": str},
    prompt=prompt,
    id=lambda row, number: f"alpaca/{number}",
    task=Unscored("instructions of Alpaca have many right answers"),
)
