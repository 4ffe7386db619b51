"""From a system's YAML to its parts, live or over a trace."""
