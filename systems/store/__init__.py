"""Slow memory: where experts lie in a checkpoint, a file or host memory; and slots, which hold them in fast memory."""
