"""Recordings, and what replays of them say of systems that did not run."""
