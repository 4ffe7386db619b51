"""One draft-verify step on the clock: what is computed, what is waited for, and every transfer of an expert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.figures.drawing import style
from harness.figures.drawing.base import Data, Figure, rounded
from harness.figures.drawing.sources import Measured
from harness.studies.timeline import COMPUTATION, FILE, LINK, SCHEMA, STEPS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure as Canvas

SHOWN = 3
"""The step that is shown: the first ones still find what the prompt left behind."""
KINDS = {"prefetch": style.SKY, "demand": style.ORANGE}
SPANS = {"draft": style.BLUE, "verify": style.GREEN, "transfer": style.VERMILLION}
LANES = ("computing", "link")
Event = Mapping[str, Any]


def collect(trace: Mapping[str, Any]) -> Data:
    """Spans and transfers of one step of every system, in ms from its start."""
    found: Sequence[Event] = trace["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in found if event["name"] == "process_name"}
    systems = [_step(name, [event for event in found if event["pid"] == place]) for place, name in names.items()]
    return {"hardware": trace["hardware"], "systems": [item for item in systems if item is not None]}


def draw(data: Data, canvas: Canvas) -> None:
    """A panel per system on one time axis."""
    panels = canvas.subplots(len(data["systems"]), 1, sharex=True, squeeze=False)[:, 0]
    for axes, item in zip(panels, data["systems"], strict=True):
        _panel(axes, item)
    panels[-1].set_xlim(0, 1.01 * max(item["ms"] for item in data["systems"]))
    panels[-1].set_xlabel(f"ms from the start of the step ({data['hardware']}); numbers are layers")
    _key(canvas)


def _step(name: str, found: Sequence[Event]) -> Data | None:
    """Cut the step that is shown out of a system's events, the last one of a short request; None: it took none."""
    steps = [event for event in found if event.get("tid") == STEPS and event["ph"] == "X"]
    if not steps:
        return None
    step = next((event for event in steps if event["args"]["step"] == SHOWN), steps[-1])
    begin, end = step["ts"], step["ts"] + step["dur"]
    within = [
        event for event in found if event["ph"] == "X" and event["ts"] < end and event["ts"] + event["dur"] > begin
    ]
    return {
        "system": name,
        "step": step["name"],
        "ms": rounded(step["dur"] / 1e3),
        "spans": [[event["name"], *_place(event, begin)] for event in within if event["tid"] == COMPUTATION],
        "transfers": [
            [event["cat"], event["args"]["layer"], event["args"]["expert"], *_place(event, begin)]
            for event in within
            if event["tid"] == LINK
        ],
    }  # fmt: skip


def _place(event: Event, begin: float) -> tuple[float, float]:
    return rounded((event["ts"] - begin) / 1e3), rounded(event["dur"] / 1e3)


def _panel(axes: Axes, item: Data) -> None:
    for name, colour in SPANS.items():  # a wait lies inside verification and is drawn over it
        bars = [(start, length) for span, start, length in item["spans"] if span == name]
        axes.broken_barh(bars, (-0.36, 0.72), facecolors=colour)
    for kind, colour in KINDS.items():
        bars = [(start, length) for cat, _, _, start, length in item["transfers"] if cat == kind]
        axes.broken_barh(bars, (0.64, 0.72), facecolors=colour, edgecolors="white", linewidth=0.4)
    for _, layer, _, start, length in item["transfers"]:
        axes.text(start + length / 2, 1.0, str(layer), ha="center", va="center", fontsize=6.5, clip_on=True)
    axes.set_yticks(range(len(LANES)), LANES)
    axes.set_ylim(1.6, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_title(f"{item['system']}, {item['step']}, {item['ms']:.1f} ms")


def _key(canvas: Canvas) -> None:
    from matplotlib.patches import Patch

    meaning = {**{style.PART_NAMES[name]: colour for name, colour in SPANS.items()}, **KINDS}
    marks = [Patch(facecolor=colour, label=name) for name, colour in meaning.items()]
    canvas.legend(handles=marks, loc="outside lower center", ncols=len(marks))


FIGURE = Figure(
    name="timeline",
    title="One step on the clock",
    sources=(Measured(f"timeline/{FILE}", SCHEMA, "python -m harness timeline experiment=timeline"),),
    collect=collect,
    draw=draw,
    size=(10.0, 5.6),
)
