"""The real command line over fake systems, for tests that need a process of their own."""

import sys

from harness.commands.door import main
from tests.harness import fake

fake.install(setattr)
sys.exit(main())
