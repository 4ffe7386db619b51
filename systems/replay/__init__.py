"""The same policies and the same cache, driven by a recorded trace on a virtual clock; no weights, no tensors."""
