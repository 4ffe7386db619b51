"""`python -m harness.models`, the earlier spelling of `python -m harness models`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("models"))
