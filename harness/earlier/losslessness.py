"""`python -m harness.losslessness`, the earlier spelling of `python -m harness losslessness`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("losslessness"))
