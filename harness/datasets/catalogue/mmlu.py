"""MMLU (arXiv 2009.03300): 14,042 questions with four answers each, without examples; the letter is generated."""

from __future__ import annotations

from harness.datasets.spec import Choice, Hub, Row, Spec

LETTERS = "ABCD"


def prompt(row: Row) -> str:
    """Return the question and its answers, lettered."""
    answers = "\n".join(f"{letter}. {answer}" for letter, answer in zip(LETTERS, row["choices"], strict=True))
    subject = str(row["subject"]).replace("_", " ")
    return f"The following is a multiple choice question about {subject}.\n\n{row['question']}\n{answers}\nAnswer:"


SPEC = Spec(
    name="mmlu",
    about="14,042 multiple-choice questions on 57 subjects (arXiv 2009.03300)",
    source=Hub(
        "cais/mmlu",
        "c30699e8356da336a370243923dbaf21066bb9fe",
        "all/test-00000-of-00001.parquet",
        "74a41822ce7d3def56e1682f958469c04642a5336a5ce912fa375fdb90fb25d7",
    ),
    columns={"question": str, "subject": str, "choices": list, "answer": int},
    prompt=prompt,
    id=lambda row, number: f"mmlu/{number}",
    task=Choice(lambda row: LETTERS[row["answer"]]),
    stop=("\n",),
)
