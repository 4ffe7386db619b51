"""`python -m harness.moesd`, the earlier spelling of `python -m harness moesd`."""

from harness.commands.door import main

if __name__ == "__main__":
    raise SystemExit(main("moesd"))
