"""What the numbers say of a system: sound or not, and how far from the possible."""
