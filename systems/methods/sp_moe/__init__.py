"""SP-MoE (arXiv 2510.10302)."""
