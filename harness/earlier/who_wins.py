"""`python -m harness.who_wins`, the earlier spelling of `python -m harness who_wins`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("who_wins"))
