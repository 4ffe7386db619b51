"""Systems at work on prompts, and the clock that is held beside them."""
