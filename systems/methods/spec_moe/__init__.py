"""SpecMoE (arXiv 2604.10152)."""
