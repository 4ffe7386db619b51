"""The files of a model apart from what its weights compute: whole, equal, quantised, which tokens, which template."""
