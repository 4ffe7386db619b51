# verdict: failed
import os

assert "SANDBOX_TEST_SECRET" in os.environ
