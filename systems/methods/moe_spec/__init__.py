"""MoE-Spec (arXiv 2602.16052)."""
