"""What is in fast memory, what is on its way, and the link that brings it. No tensors."""
