"""Exercise families, grouped by what they work on."""

from __future__ import annotations

from models.families import lists, numbers, strings

TEMPLATES = numbers.TEMPLATES + lists.TEMPLATES + strings.TEMPLATES
