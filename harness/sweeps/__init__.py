"""Sweeps: jobs that any launcher may run anywhere, their records, and what they say together."""
