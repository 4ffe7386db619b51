"""Outputs that left plain greedy decoding: where, by how much, and whether rounding explains it."""
