"""`python -m harness.grid`, the earlier spelling of `python -m harness grid`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("grid"))
