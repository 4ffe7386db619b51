"""The regression check: what is counted, and what must be equal."""
