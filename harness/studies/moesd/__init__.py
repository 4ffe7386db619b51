"""MoESD (arXiv 2505.19645): when does speculative decoding pay for a Mixture-of-Experts model, and why."""
