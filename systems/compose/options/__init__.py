"""What parts can be told in a system's YAML, where the part is not a file of its own."""
