"""`python -m harness.paper_scale`, the earlier spelling of `python -m harness paper_scale`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("paper_scale"))
