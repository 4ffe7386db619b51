"""How all figures look: colours, marks and names."""

from __future__ import annotations

from typing import Any

from harness.figures.drawing.base import Data

# Okabe and Ito's palette, distinct for the colour-blind, and five of Tol's where a picture has more systems.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE, GREY = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#8A8A8A",
)  # fmt: skip
WINE, TEAL, OLIVE, INDIGO, ROSE = "#882255", "#44AA99", "#8C7A1E", "#332288", "#CC6677"
LOOKS = {
    "offload": (BLUE, "o"),
    "moe_infinity": (SKY, "v"),
    "adapmoe": (GREEN, "^"),
    "sd_offload": (ORANGE, "s"),
    "sp_moe": (VERMILLION, "D"),
    "moe_speq": (PURPLE, "P"),
    "spec_moe": (WINE, "X"),
    "overlap": (TEAL, "<"),
    "caching": (INDIGO, ">"),
    "arbiter": (YELLOW, "*"),
    "cpu_compute": (ROSE, "h"),
    "accelerate_offload": (OLIVE, "p"),
    "oracle": (GREY, "x"),
    "oracle_cpu": (GREY, "+"),
    "sd_oracle": (BLACK, "+"),
    "no_cache": (GREY, "d"),
    "resident": (GREY, "1"),
    "sd_resident": (BLACK, "2"),
}
"""Colour and mark of a system, the same in every figure; bounds are black or grey."""
PARTS = {"draft": BLUE, "verify": GREEN, "transfer": VERMILLION, "host": YELLOW, "residual": GREY}
"""The parts that TPOT adds up from."""
PART_NAMES = {
    "draft": "drafting",
    "verify": "verifying",
    "transfer": "waiting for experts",
    "host": "host",
    "residual": "residual",
}
ORACLES = ("oracle", "oracle_cpu", "sd_oracle")
BOUNDS = (*ORACLES, "resident", "sd_resident")
REPORTED: dict[str, Any] = {
    "marker": "D",
    "markerfacecolor": "white",
    "markeredgecolor": BLACK,
    "color": BLACK,
    "linestyle": "none",
}
"""Published numbers are hollow black diamonds, everywhere."""
UNSOUND: dict[str, Any] = {"markerfacecolor": "white"}
"""What has a verdict other than `ok` is hollow."""


def hollow(item: Data) -> dict[str, Any]:
    """Return how a point looks whose verdict is not `ok`."""
    return UNSOUND if item["status"] != "ok" else {}


def base(label: str) -> str:
    """Return the system behind a label such as `sp_moe@2`."""
    return label.partition("@")[0]


FAMILIES = {
    "decodes plainly": BLUE,
    "draft model": VERMILLION,
    "self-draft": PURPLE,
    "n-gram draft": GREEN,
    "bound": GREY,
    "peer": BLACK,
}
"""Colours of kinds of systems where there are too many systems for one each."""


def kind_of(item: Data) -> str:
    """Return the kind of a drawn system."""
    return kind(item["system"], item["drafts"])


def kind(label: str, drafts: bool) -> str:
    """Return the kind of a system."""
    name = base(label)
    if name in (*BOUNDS, "no_cache"):
        return "bound"
    if name.startswith(("transformers", "accelerate", "llama_cpp", "openvino")):
        return "peer"
    special = dict.fromkeys(("moe_speq", "spec_moe", "cached_self"), "self-draft") | {"prompt_lookup": "n-gram draft"}
    return special.get(name, "draft model" if drafts else "decodes plainly")


def titled(item: Data) -> str:
    """Return a system's name, marked where it changes outputs."""
    return str(item["system"]) if item["lossless"] else f"{item['system']} (lossy)"


def named(item: Data) -> str:
    """Return the same with a verdict other than `ok`, for where the picture has no other place for it."""
    return titled(item) if item["status"] == "ok" else f"{titled(item)}: {item['status'].replace('_', ' ')}"


def look(label: str) -> tuple[str, str]:
    """Return a system's colour and mark."""
    return LOOKS.get(base(label), (GREY, "o"))
