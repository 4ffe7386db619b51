"""`python -m harness`, and `spmoe-bench` where the project is installed; see `harness.commands.door`."""

from __future__ import annotations

import sys

from harness.commands.door import main

if __name__ == "__main__":
    sys.exit(main())
