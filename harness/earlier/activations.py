"""`python -m harness.activations`, the earlier spelling of `python -m harness activations`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("activations"))
