"""The systems that are measured; `systems.api` is the only part the harness may import."""
