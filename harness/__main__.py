"""`python -m harness`."""

from __future__ import annotations

import sys

from harness.run import main

sys.exit(main())
