"""MoE-SpeQ (arXiv 2511.14102)."""
