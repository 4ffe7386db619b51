"""`python -m harness.record`, the earlier spelling of `python -m harness record`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("record"))
