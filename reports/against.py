"""How far does FVD depend on the number of videos? Its value against N, and what it tends to.

FVD falls with N, nearly as a line in 1/N. `extrapolation.jsonl` of the run folder has it for nested subsets of the
same videos, with the value at infinitely many videos where a fit could be given, and the reason where not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reports import words
from reports.charts import Figure, Mark, Panel, Scale, polyline, span
from reports.figures import WIDTH, colours, variant_labels
from reports.load import Json, Run, items, mapping, number, text
from reports.spreadsheet import csv_text

HEAD = ("dataset", "variant", "label", "seed", "metric", "features", "protocol", "n", "value", "low", "high")
CAPTION = (
    "Mean over nested subsets of N of the same videos, all training seeds together. The axis is straight in 1/N, where "
    "FVD is nearly a line: more videos are to the left, ∞ is the end. A line is the fit through the filled marks; the "
    "open mark with a bar at ∞ is its value there with the interval. Grey: baselines without a model."
)


@dataclass(frozen=True)
class Point:
    """The value at n videos, the mean over `subsets`; `fitted` when the fit goes through it."""

    n: float
    value: float
    subsets: int
    fitted: bool


@dataclass(frozen=True)
class Curve:
    """A variant's (or baseline's) metric against N; seed None: all seeds together."""

    variant: str
    label: str
    seed: int | None
    line: Json  # as in the file: dataset, metric, features, protocol, fit, reason
    points: tuple[Point, ...]  # n falling

    @property
    def fit(self) -> dict[str, float]:
        """value, slope, low and high of the line in 1/N; empty without a fit."""
        found = {key: number(mapping(self.line.get("fit")).get(key)) for key in ("value", "slope", "low", "high")}
        return {key: value for key, value in found.items() if value is not None}

    @property
    def place(self) -> tuple[str, str, str, str]:
        """dataset, metric, features, protocol."""
        dataset, metric, features, protocol = (
            text(self.line.get(key)) for key in ("dataset", "metric", "features", "protocol")
        )
        return dataset, metric, features, protocol


def against_figure(run: Run) -> Figure | None:
    """A panel per dataset, metric, network and protocol; None when the run has no such curves."""
    every = curves(run)
    shown = _together(every)
    groups: dict[tuple[str, str, str, str], list[Curve]] = {}
    for curve in shown:
        groups.setdefault(curve.place, []).append(curve)
    if not groups:
        return None
    panels = tuple(_panel(run, place, mine) for place, mine in groups.items())
    legend = tuple(dict.fromkeys((_css(run, c), c.label) for c in shown if _css(run, c) != "base"))
    data = csv_text((*HEAD, "subsets", "fitted"), (row for curve in every for row in _rows(curve)))
    return Figure("against_n", "FVD against the number of videos", CAPTION, panels, data, legend, _reasons(shown))


def curves(run: Run) -> list[Curve]:
    """Those with a point; a variant that several questions share is there once."""
    labels = variant_labels(run) | {r.variant: r.label for r in run.records if r.role == "baseline"}
    found: dict[tuple[object, ...], Curve] = {}
    for line in run.extrapolations:
        points = tuple(_points(line))
        name, seed = text(line.get("variant")), number(line.get("seed"))
        if points:
            curve = Curve(name, labels.get(name, name), None if seed is None else int(seed), line, points)
            found.setdefault((name, seed, curve.place, points), curve)
    return list(found.values())


def _points(line: Json) -> Iterable[Point]:
    """Each N once: a very small set has the same N under several fractions."""
    seen = set()
    for point in map(mapping, items(line.get("points"))):
        n, value = number(point.get("n")), number(point.get("value"))
        if n and value is not None and n not in seen:
            seen.add(n)
            yield Point(n, value, int(number(point.get("subsets")) or 1), point.get("fitted") is True)


def _together(every: Sequence[Curve]) -> list[Curve]:
    """The curve over all seeds of each variant; that of its first seed where there is none."""
    best: dict[tuple[object, ...], Curve] = {}
    for curve in sorted(every, key=lambda c: -1 if c.seed is None else c.seed):
        best.setdefault((curve.variant, curve.place), curve)
    return [curve for curve in every if curve is best[curve.variant, curve.place]]


def _css(run: Run, curve: Curve) -> str:
    return colours(run).get(curve.variant, "base")


def _rows(curve: Curve) -> Iterable[tuple[object, ...]]:
    dataset, metric, features, protocol = curve.place
    seed = "all" if curve.seed is None else curve.seed
    about = (dataset, curve.variant, curve.label, seed, metric, features, protocol)
    for point in curve.points:
        yield *about, int(point.n), point.value, None, None, point.subsets, point.fitted
    if curve.fit:
        yield *about, "infinite", *(curve.fit.get(key) for key in ("value", "low", "high")), None, None


def _reasons(shown: Sequence[Curve]) -> tuple[str, ...]:
    """Why there is no value at infinity, each reason once with the curves that it is about."""
    found: dict[str, list[str]] = {}
    for curve in shown:
        reason = text(curve.line.get("reason")).rstrip(".")
        if reason and not curve.fit:
            found.setdefault(reason, []).append(f"{curve.label} on {words.dataset_name(curve.place[0])}")
    return tuple(
        f"No value at infinitely many videos{'' if len(who) == len(shown) else f' for {words.listed(who)}'}: {why}."
        for why, who in found.items()
    )


def _panel(run: Run, place: tuple[str, str, str, str], mine: Sequence[Curve]) -> Panel:
    dataset, metric, features, protocol = place
    left, top, right, bottom = 54.0, 26.0, WIDTH - 14, 210.0
    counts = sorted({point.n for curve in mine for point in curve.points}, reverse=True)
    ends = [value for curve in mine for key, value in curve.fit.items() if key != "slope"]
    values = [point.value for curve in mine for point in curve.points] + ends
    x = Scale(0.0, 1.03 / counts[-1], left + 8, right)
    y = Scale(*span(values, include=[0.0]), bottom, top)
    head = f"{words.metric_name(metric)} ({features})"
    name = f"{words.dataset_name(dataset)}, {head}" + ("" if protocol == run.protocol else f", {protocol}")
    marks = [mark for curve in mine for mark in _marks(curve, _css(run, curve), x, y)]
    size, room = (WIDTH, bottom + 34), (left, top, right, bottom)
    said = f"{name} against the number of videos"
    return Panel(name, said, *size, *room, "videos N, spaced as 1/N", head, _ticks(counts, x), y.ticks(), tuple(marks))


def _ticks(counts: Sequence[float], x: Scale) -> tuple[tuple[float, str], ...]:
    """∞ at the left end and each N that leaves room for its label; `counts` fall."""
    kept = [(x(0.0), "∞")]
    for n in counts:
        if x(1 / n) - kept[-1][0] > 24:
            kept.append((x(1 / n), f"{n:g}"))
    return tuple(kept)


def _marks(curve: Curve, css: str, x: Scale, y: Scale) -> list[Mark]:
    marks, fit = [], curve.fit
    far = 1 / curve.points[-1].n
    if {"value", "slope"} <= set(fit):
        line = [(0.0, fit["value"]), (far, fit["value"] + fit["slope"] * far)]
        marks.append(Mark("line", f"{css} thin", points=polyline(line, x, y), words=f"{curve.label}: fit"))
        said = f"{curve.label}, infinitely many videos: {fit['value']:.4g}"
        if {"low", "high"} <= set(fit):
            said += f" {words.bracket(fit['low'], fit['high'], 1)}"
            marks.append(Mark("segment", css, x(0.0), y(fit["low"]), x(0.0), y(fit["high"]), words=said))
        marks.append(Mark("dot", f"{css} open", x(0.0), y(fit["value"]), r=3.2, words=said))
    elif len(curve.points) > 1:
        places = [(1 / point.n, point.value) for point in curve.points]
        marks.append(Mark("line", f"{css} thin", points=polyline(places, x, y), words=curve.label))
    return marks + [
        Mark(
            "dot",
            css if point.fitted or not fit else f"{css} open",
            x(1 / point.n),
            y(point.value),
            r=2.4,
            words=f"{curve.label}, N = {point.n:g}: {point.value:.4g}",
        )
        for point in curve.points
    ]
