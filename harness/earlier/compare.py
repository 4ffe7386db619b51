"""`python -m harness.compare`, the earlier spelling of `python -m harness compare`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("compare"))
