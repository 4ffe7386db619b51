"""`python -m harness.plan`, the earlier spelling of `python -m harness plan`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("plan"))
