"""`python -m harness.overhead`, the earlier spelling of `python -m harness overhead`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("overhead"))
