"""Fewer operators for what a model's modules compute: found by structure, checked against the modules themselves."""
