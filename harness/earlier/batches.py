"""`python -m harness.batches`, the earlier spelling of `python -m harness batches`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("batches"))
