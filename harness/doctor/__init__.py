"""What a machine can do, and what will be noisy on it."""
