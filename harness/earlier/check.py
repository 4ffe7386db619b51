"""`python -m harness.check`, the earlier spelling of `python -m harness check`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("check"))
