"""The bench: it owns everything that is compared, and reaches systems only through `systems.api`."""
