"""GSM8K (arXiv 2110.14168): 1,319 word problems whose answer is a number behind `####`."""

from __future__ import annotations

from harness.datasets.spec import Hub, Number, Spec

SPEC = Spec(
    name="gsm8k",
    about="1,319 grade-school word problems (arXiv 2110.14168)",
    source=Hub(
        "openai/gsm8k",
        "740312add88f781978c0658806c59bc2815b9866",
        "main/test-00000-of-00001.parquet",
        "ee7b8da9e381df27b9e3f7758a159ab2bdaa4dbaa910546cbbc47e0cb44e4f59",
    ),
    columns={"question": str, "answer": str},
    prompt=lambda row: f"Question: {row['question']}\nAnswer:",
    id=lambda row, number: f"gsm8k/{number}",
    task=Number(lambda row: str(row["answer"])),
    stop=("Question:",),
)
