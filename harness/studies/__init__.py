"""Commands that look at one question closely."""
