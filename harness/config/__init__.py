"""What is asked for: inert data, checked once."""
