"""`python -m harness.suite`, the earlier spelling of `python -m harness suite`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("suite"))
