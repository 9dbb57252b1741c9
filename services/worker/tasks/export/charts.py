"""The charts of HTML and PDF reports, drawn by matplotlib without a display. Used in child processes only.

Colours are told apart by people who confuse red and green, and in print.
"""

import io
from typing import TYPE_CHECKING

from services.worker.tasks.export.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "succeeded": "#2f7d5b",
    "failed": "#c8452f",
    "cancelled": "#b9bec7",
    "skipped": "#e3b34b",
    "rate": "#24507f",
    "error": "#c8452f",
    "warning": "#e3b34b",
    "note": "#24507f",
    "none": "#b9bec7",
}
_LEVELS = {"none": "other"}
_INK, _GRID = "#3a4250", "#e6e9ee"
_MOST_LABELS = 12


def charts(report: Report, form: str) -> list[tuple[str, bytes]]:
    """Title and image of every chart that has something to show. `form`: `svg` or `png` (200 dots an inch)."""
    drawn = []
    if any(one.succeeded or one.failed or one.cancelled or one.skipped for one in report.parts):
        drawn.append((f"Runs by {_part(report)}", _image(_runs(report), form)))
    if any(one.success_rate is not None for one in report.parts):
        drawn.append((f"Success rate by {_part(report)}", _image(_rate(report), form)))
    if any(count for _, count in report.levels):
        drawn.append(("Findings by level", _image(_levels(report), form)))
    return drawn


def _part(report: Report) -> str:
    """What a bar is: a period that begins at nine has days that begin at nine."""
    start = report.parts[0].start
    return report.part_name if report.part_name == "hour" else f"{report.part_name}, each from {start:%H:%M} UTC"


def _runs(report: Report) -> "Figure":
    figure, axes = _canvas()
    below = [0] * len(report.parts)
    for name in ("succeeded", "failed", "cancelled", "skipped"):
        counts = [getattr(one, name) for one in report.parts]
        if not any(counts):
            continue
        axes.bar(range(len(counts)), counts, bottom=below, color=COLOURS[name], label=name, width=0.78)
        below = [low + count for low, count in zip(below, counts, strict=True)]
    _whole_numbers(axes)
    axes.set_ylim(0, max(below) * 1.08)
    _time_axis(axes, report)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=4, frameon=False, fontsize=8)
    return figure


def _rate(report: Report) -> "Figure":
    figure, axes = _canvas()
    known = [(at, one.success_rate) for at, one in enumerate(report.parts) if one.success_rate is not None]
    places, rates = [at for at, _ in known], [rate for _, rate in known]
    axes.plot(places, rates, color=COLOURS["rate"], linewidth=1.8, marker="o", markersize=3.5, clip_on=False)
    lowest = min(rates)
    # A flat line at 99 % must not fill the height, and a dip must not be hidden by starting at 90.
    axes.set_ylim(0 if lowest < 80 else 75, 100)
    axes.yaxis.set_major_formatter("{x:.0f} %")
    _time_axis(axes, report)
    return figure


def _levels(report: Report) -> "Figure":
    figure, axes = _canvas()
    levels = [(name, count) for name, count in report.levels if count or name != "none"]
    colours = [COLOURS[name] for name, _ in levels]
    bars = axes.bar([_LEVELS.get(name, name) for name, _ in levels], [n for _, n in levels], color=colours, width=0.55)
    axes.bar_label(bars, fmt="{:,.0f}", fontsize=9, color=_INK, padding=2)
    _whole_numbers(axes)
    axes.margins(y=0.15)
    return figure


def _canvas() -> tuple["Figure", "Axes"]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 2.35), layout="constrained")  # never pyplot: it keeps every figure
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=8, length=0)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _whole_numbers(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _time_axis(axes: "Axes", report: Report) -> None:
    count = len(report.parts)
    step = -(-count // _MOST_LABELS)
    places = range(0, count, step)
    axes.set_xticks(list(places), [report.parts[at].label for at in places])
    axes.set_xlim(-0.6, count - 0.4)


def _image(figure: "Figure", form: str) -> bytes:
    import matplotlib as mpl

    out = io.BytesIO()
    # Text as paths: the reader's machine need not have our font. No date in the file: equal reports are equal files.
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "commandcenter"}):
        metadata = {"Date": None} if form == "svg" else {}
        figure.savefig(out, format=form, dpi=200, metadata=metadata)
    return out.getvalue()
