"""Where does each mark of a plot go? Small vector panels: data in, coordinates out, drawn by a template.

A panel is (width, height) CSS pixels with its own axes; marks carry a colour class (`s0`..: one per variant)
and words for a tooltip. Text stays text, colours come from the page, so light, dark and print all work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from reports.words import MINUS

SERIES = 7  # colours of templates/plot.css; then dashes tell lines apart, hollow marks dots


@dataclass(frozen=True)
class Mark:
    """A thing to draw: a dot (x, y, r), a segment or reference rule (x, y to x2, y2), a text at x, y, a cell at x, y
    (x2 wide, y2 high, r: share of its colour), or the points of a line or an arrow head; `words` are the text, or the
    tooltip."""

    kind: str  # dot, segment, rule, text, line, arrow, cell
    css: str
    x: float = 0.0
    y: float = 0.0
    x2: float = 0.0
    y2: float = 0.0
    r: float = 0.0
    points: str = ""
    words: str = ""
    anchor: str = "start"


@dataclass(frozen=True)
class Panel:
    """A plot. Ticks are (pixel, label); left, top, right, bottom bound the plotting area in pixels."""

    title: str
    words: str  # what it shows, for those who cannot see it
    width: float
    height: float
    left: float
    top: float
    right: float
    bottom: float
    x_label: str = ""
    y_label: str = ""
    x_ticks: tuple[tuple[float, str], ...] = ()
    y_ticks: tuple[tuple[float, str], ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Figure:
    """Panels that belong together, the legend [(css, label)], and the data behind them as CSV text."""

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    csv: str
    legend: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)


def css_of(index: int) -> str:
    """Colour class of series `index`, dashed from the second round of colours on."""
    return f"s{index % SERIES}" + (f" d{index // SERIES}" if index >= SERIES else "")


@dataclass(frozen=True)
class Scale:
    """Data range -> pixel range, linear or log10."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.stop - self.start), 2)

    def ticks(self, count: int = 4) -> tuple[tuple[float, str], ...]:
        """About `count` round values with their pixels."""
        values = log_ticks(self.low, self.high) if self.log else round_ticks(self.low, self.high, count)
        step = values[1] - values[0] if len(values) > 1 and not self.log else 0.0
        digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step else 0
        return tuple((self(v), (f"{v:.{digits}f}" if step else f"{v:g}").replace("-", MINUS)) for v in values)


def round_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten inside [low, high]."""
    if high <= low:
        return [low]
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.7)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 of each decade inside [low, high]; powers of ten alone when that is more than six."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [f * 10.0**d for d in decades for f in (1, 2, 5) if low <= f * 10.0**d <= high]
    return fine if len(fine) <= 6 else [10.0**d for d in decades if low <= 10.0**d <= high]


def span(values: Iterable[float], margin: float = 0.05, include: Sequence[float] = ()) -> tuple[float, float]:
    """Range of the values with a margin on both sides; (0, 1) without any, never of width zero."""
    known = [*values, *include]
    low, high = min(known, default=0.0), max(known, default=1.0)
    pad = (high - low) * margin or max(abs(low) * margin, 1e-9)
    return low - pad, high + pad


def bulk(groups: Sequence[Sequence[float]], times: float = 3.0) -> tuple[float, float]:
    """Range of the groups (a row's value, interval and seeds each) that belong together.

    A group whose middle lies further outside the quartiles of all middles than `times` their distance is
    left out: one far value would press all others into one dot. Plots mark it with an arrow at their edge.
    """
    known = [group for group in groups if group]
    middles = sorted(sum(group) / len(group) for group in known)
    if not middles:
        return 0.0, 0.0
    first, third = middles[len(middles) // 4], middles[min(len(middles) - 1, len(middles) * 3 // 4)]
    reach = times * (third - first) if len(middles) > 3 else math.inf
    kept = [g for g in known if first - reach <= sum(g) / len(g) <= third + reach] or known
    return min(map(min, kept)), max(map(max, kept))


def polyline(points: Sequence[tuple[float, float]], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    """Data points -> the SVG attribute `points`."""
    return " ".join(f"{x(a):g},{y(b):g}" for a, b in points)


def thin(points: Sequence[tuple[float, float]], most: int = 160) -> list[tuple[float, float]]:
    """Every k-th point, first and last kept, so that a long curve stays small on the page."""
    step = max(1, math.ceil(len(points) / most))
    kept = list(points[::step])
    return kept if not points or kept[-1] == points[-1] else [*kept, points[-1]]


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Centred mean over `window` values, fewer at the ends."""
    half = window // 2
    parts = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(part) / len(part) for part in parts]
