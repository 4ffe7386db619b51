"""`python -m harness`, and `spmoe-bench` where the project is installed."""

from __future__ import annotations

import sys

from harness.cli.launch import main

if __name__ == "__main__":
    sys.exit(main())
