"""AdapMoE (arXiv 2408.10284)."""
