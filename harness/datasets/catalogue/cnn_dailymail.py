"""CNN/DailyMail (arXiv 1704.04368): 11,490 news articles to summarise, asked for as GPT-2's paper does."""

from __future__ import annotations

from harness.datasets.spec import Hub, Spec, Summary

SPEC = Spec(
    name="cnn_dailymail",
    about="11,490 news articles to summarise (arXiv 1704.04368)",
    source=Hub("abisee/cnn_dailymail", "96df5e686bee6baa90b8bee7c28b81fa3fa6223d", "3.0.0/test-00000-of-00001.parquet"),
    columns={"id": str, "article": str, "highlights": str},
    prompt=lambda row: f"{row['article']}\n\nTL;DR:",
    id=lambda row, number: f"cnn_dailymail/{row['id']}",
    task=Summary(lambda row: str(row["highlights"])),
    stop=("\n\n",),
)
