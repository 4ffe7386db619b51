"""Fixtures that several commands share."""

from tests.harness.predict.test_grid import recording as recording
