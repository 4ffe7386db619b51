"""SpecMoEOff (arXiv 2508.21706)."""
