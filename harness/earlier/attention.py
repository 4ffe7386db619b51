"""`python -m harness.attention`, the earlier spelling of `python -m harness attention`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("attention"))
