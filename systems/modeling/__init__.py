"""Models of transformers with their experts taken out: loading, masks, caches, routers, and what computes instead."""
