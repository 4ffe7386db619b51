"""A run over several batches, read along the batch."""
