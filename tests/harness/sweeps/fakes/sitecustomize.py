"""Put on the path of every process of a sweep, its launcher's workers too: fake systems under the real command line."""

from harness.records import provenance
from tests.harness import fake

fake.install(setattr)
provenance.code_fingerprint = lambda: "fakes"  # an edit while a test runs must not make other cells
