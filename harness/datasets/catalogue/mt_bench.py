"""MT-Bench (arXiv 2306.05685): 80 dialogues, of which the first turn is asked."""

from __future__ import annotations

from harness.datasets.spec import Hub, Spec, Unscored

SPEC = Spec(
    name="mt_bench",
    about="80 first turns of dialogues in eight categories (arXiv 2306.05685)",
    source=Hub("HuggingFaceH4/mt_bench_prompts", "e3a795c5e9a82ee40611c416b8a7786c73198991", "raw/question.jsonl"),
    columns={"question_id": int, "category": str, "prompt": list},
    prompt=lambda row: str(row["prompt"][0]),
    id=lambda row, number: f"mt_bench/{row['question_id']}",
    task=Unscored("answers of MT-Bench are graded by another model, which this bench does not do"),
)
