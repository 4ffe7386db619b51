"""`python -m harness.timeline`, the earlier spelling of `python -m harness timeline`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("timeline"))
