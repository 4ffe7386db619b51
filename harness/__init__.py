"""The bench: it owns everything that is compared, and reaches systems only through `systems.api`."""

from pathlib import Path

# `python -m harness.grid` still finds `python -m harness grid`: see `harness/earlier`.
__path__.append(str(Path(__file__).with_name("earlier")))
