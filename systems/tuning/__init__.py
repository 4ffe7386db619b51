"""Choosing a large-batch system's settings before it runs: roofline facts, fitted lines, a simulated iteration."""
