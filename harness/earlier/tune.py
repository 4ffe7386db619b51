"""`python -m harness.tune`, the earlier spelling of `python -m harness tune`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("tune"))
