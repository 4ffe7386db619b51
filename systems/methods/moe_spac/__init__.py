"""MoE-SpAc (arXiv 2603.09983)."""
