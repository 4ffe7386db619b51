"""A result set as one page to read, and as Markdown and CSV."""
