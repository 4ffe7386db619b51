"""Whether results are right and not worse: against baselines, other result sets, plain decoding."""
