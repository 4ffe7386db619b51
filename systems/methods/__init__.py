"""One folder per paper: its policies, predictors and drafters."""
