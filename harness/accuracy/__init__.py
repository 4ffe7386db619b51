"""Accuracy of the very outputs that were timed, from their records, once nothing is timed any more."""
