"""MoE-Infinity (arXiv 2401.14361)."""
