"""Our own: every missing expert takes the way that is done first."""
