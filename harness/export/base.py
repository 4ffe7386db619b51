"""What a format makes of a system: files, and the metrics of the other tool that it cannot fill, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

NO_STEPS = "the system reports no draft-verify cycles"
NO_DRAFT = "nothing was drafted"


class Export(NamedTuple):
    """Texts by file name, and reasons by metric."""

    files: Mapping[str, str]
    left_out: Mapping[str, str]
