"""Executes generated programs where they can do no harm, and says how each ended."""

from harness.sandbox.outcome import Limits, Outcome, Verdict
from harness.sandbox.pool import run_programs
from harness.sandbox.run import run_program

__all__ = ["Limits", "Outcome", "Verdict", "run_program", "run_programs"]
