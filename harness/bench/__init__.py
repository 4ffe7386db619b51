"""One comparison, from config to what is published and mirrored."""
