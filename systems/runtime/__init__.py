"""Mechanism: expert store, slots, link, KV cache, decode loop and the offloaded experts module."""
