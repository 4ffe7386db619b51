"""Cascade (arXiv 2506.20675)."""
