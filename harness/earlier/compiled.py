"""`python -m harness.compiled`, the earlier spelling of `python -m harness compiled`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("compiled"))
