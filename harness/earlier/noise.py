"""`python -m harness.noise`, the earlier spelling of `python -m harness noise`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("noise"))
