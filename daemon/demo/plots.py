"""The report's pictures: SVG texts drawn by matplotlib, with colours left to the page.

Colours are written as CSS variables, so that one picture serves light and dark. Nothing in them comes from
outside the demo except adapter names, which matplotlib escapes.
"""

import io
import re
from collections.abc import Sequence
from typing import Any, Final

from daemon.demo.watcher import Attempt

INK: Final = "#010203"
BEFORE: Final = "#0a0b01"
AFTER: Final = "#0a0b02"
GOOD: Final = "#0a0b03"
BAD: Final = "#0a0b04"
FAINT: Final = "#0a0b05"
VARIABLES: Final = {
    INK: "var(--ink)",
    BEFORE: "var(--before)",
    AFTER: "var(--after)",
    GOOD: "var(--good)",
    BAD: "var(--bad)",
    FAINT: "var(--faint)",
}
"""Stand-ins that the drawing uses, and what the page puts in their place."""
WIDTH: Final = 4.5
"""Inches: a picture is shown about a quarter larger than it is drawn."""
FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def distributions(
    before: Sequence[float], after: Sequence[float], *, top: float, bins: int, unit: str
) -> str:
    """Two histograms over [0, top] as shares of the answers, with their means marked."""
    figure, axes = _figure(WIDTH, 2.5)
    edges = [top * index / bins for index in range(bins + 1)]
    for values, colour, label in ((before, BEFORE, "before"), (after, AFTER, "after")):
        if not values:
            continue
        weights = [1 / len(values)] * len(values)
        axes.hist(values, edges, weights=weights, color=colour, alpha=0.45, label=label)
        axes.hist(values, edges, weights=weights, color=colour, histtype="step", linewidth=1.2)
        middle = sum(values) / len(values)
        axes.axvline(middle, color=colour, linewidth=1.6, linestyle=(0, (4, 2)))
    axes.set_xlim(0, top)
    axes.set_xlabel(unit)
    axes.set_ylabel("share of answers")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if before or after:
        axes.legend(
            frameon=False,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=2,
            fontsize=9,
            labelcolor=INK,
            borderpad=0,
        )
    return _svg(figure)


def ranges(
    rows: Sequence[tuple[str, float, float, float, bool]], *, limit: float, low: float, high: float, unit: str
) -> str:
    """Estimates with intervals, one row each, against a limit. A row is (name, low, mid, high, good)."""
    figure, axes = _figure(WIDTH, 0.75 + 0.38 * len(rows))
    for place, (_, lower, middle, upper, good) in enumerate(rows):
        colour = GOOD if good else BAD
        axes.plot([lower, upper], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
        axes.plot([middle], [place], "o", color=colour, markersize=6, clip_on=False)
        axes.annotate(
            f"{middle:.2f}", (middle, place), (0, 7), textcoords="offset points", ha="center", color=INK,
            fontsize=9,
        )  # fmt: skip
    axes.axvline(limit, color=INK, linewidth=1, linestyle=(0, (2, 2)))
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.7)
    axes.set_xlim(low, high)
    axes.set_xlabel(unit)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return _svg(figure)


def distances(attempts: Sequence[Attempt], *, ceiling: float, names: Sequence[str]) -> str:
    """KL per sequence (logarithmic) and entropy ratio of every adapter, with the gate's limits."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    figure, (left, right) = _figures(WIDTH, 0.9 + 0.38 * len(attempts))
    places = range(len(attempts))
    kls = [max(0.05, attempt.kl_sequence or 0.0) for attempt in attempts]
    colours = [GOOD if kl <= ceiling else BAD for kl in kls]
    left.barh(places, [kl - 0.05 for kl in kls], left=0.05, color=colours, height=0.5, alpha=0.85)
    left.axvline(ceiling, color=INK, linewidth=1, linestyle=(0, (2, 2)))
    left.set_xscale("log")
    left.set_xlim(0.05, max(200.0, 4 * max(kls, default=1.0)))
    left.xaxis.set_major_locator(FixedLocator([0.1, 1, 10, 100]))
    left.xaxis.set_minor_locator(NullLocator())
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.set_xlabel("KL, nats per sequence")
    for place, kl in zip(places, kls, strict=True):
        left.annotate(
            f"{kl:.1f}", (kl, place), (4, 0), textcoords="offset points", va="center", color=INK, fontsize=9
        )
    left.set_yticks(places, list(names))
    right.set_yticks(places, [""] * len(attempts))
    for place, attempt in zip(places, attempts, strict=True):
        if attempt.entropy is not None and attempt.entropy_stable is not None:
            right.plot(
                [attempt.entropy_stable, attempt.entropy], [place, place], color=FAINT, linewidth=2, zorder=1
            )
            right.plot([attempt.entropy_stable], [place], "o", color=BEFORE, markersize=6)
            right.plot([attempt.entropy], [place], "o", color=AFTER, markersize=6)
    right.set_xlim(left=0)
    right.set_xlabel("entropy, nats per token")
    for axes in (left, right):
        axes.set_ylim(len(attempts) - 0.5, -0.5)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    figure = _canvas(width, height)
    axes = figure.subplots()
    _plain(axes)
    return figure, axes


def _figures(width: float, height: float) -> tuple[Any, tuple[Any, Any]]:
    figure = _canvas(width, height)
    left, right = figure.subplots(1, 2)
    _plain(left)
    _plain(right)
    return figure, (left, right)


def _canvas(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _plain(axes: Any) -> None:
    """Little ink: two spines, no frame, no grid."""
    axes.patch.set_visible(False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, color=FAINT)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.xaxis.label.set_size(9)
    axes.yaxis.label.set_size(9)


def _svg(figure: Any) -> str:
    import matplotlib as mpl
    from matplotlib.text import Text

    figure.patch.set_visible(False)
    buffer = io.StringIO()
    style = {"svg.fonttype": "none", "svg.hashsalt": "rlaifd", "font.family": "sans-serif"}
    with mpl.rc_context(style):
        for text in figure.findobj(Text):
            if str(text.get_color()) == "black":
                text.set_color(INK)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", drawn, count=1)
    drawn = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 role="img"', drawn, count=1)
    drawn = re.sub(r"(font(?:-family)?: ?)([^;\"]*)(sans-serif)", _font, drawn)
    for stand_in, variable in VARIABLES.items():
        drawn = drawn.replace(stand_in, variable)
    return drawn


def _font(found: re.Match[str]) -> str:
    """The page's own font instead of matplotlib's list; a shorthand keeps its size."""
    size = re.match(r"\s*[\d.]+px", found[2])
    return f"{found[1]}{size[0] + ' ' if size else ''}{FONT}"
