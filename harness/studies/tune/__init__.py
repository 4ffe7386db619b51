"""SpecMoEOff's tuner beside the sweep that it replaces."""
