"""`python -m harness.fidelity`, the earlier spelling of `python -m harness fidelity`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("fidelity"))
