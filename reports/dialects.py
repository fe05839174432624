"""How far does the dialect alone move a number? The same videos under several protocols.

Public evaluation codes disagree (resize, features, covariance divisor, ...); each is a protocol that stored videos
can be scored by again. Numbers of different worlds, datasets, metrics or feature networks get panels of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports import words
from reports.cells import FULL
from reports.charts import Figure, Mark, Panel, Scale, span
from reports.figures import ROW, WIDTH, colours, label_room, short, variant_labels
from reports.load import Run
from reports.record import Record
from reports.spreadsheet import csv_text

HEAD = ("world", "dataset", "metric", "features", "protocol", "variant", "label", "value", "low", "high", "n")
CAPTION = (
    "The same videos in every row: only the way of measuring differs. A mark for each variant, mean over training "
    "seeds; the bar spans the variants of the run. The first row is the run’s own protocol."
)
LOG_FROM = 20
Place = tuple[str, str, str, str]  # world, dataset, metric, features
Spread = dict[str, list[Record]]  # protocol -> one record per variant


def dialect_figure(run: Run) -> Figure | None:
    """A row per protocol; None when nothing was scored under two."""
    found = dialects(run)
    if not found:
        return None
    panels = tuple(_panel(run, place, spread) for place, spread in found.items())
    rows = (
        (*place, protocol, r.variant, r.label, r.value, r.low, r.high, r.n)
        for place, spread in found.items()
        for protocol, records in spread.items()
        for r in records
    )
    labels = variant_labels(run)
    legend = tuple((css, labels[name]) for name, css in colours(run).items())
    notes = tuple(note for place, spread in found.items() for note in _moved(place, spread))
    title = "How far the dialect moves a number"
    return Figure("dialects", title, CAPTION, panels, csv_text(HEAD, rows), legend, notes)


def dialects(run: Run) -> dict[Place, Spread]:
    """The variants' means by protocol, the run's own first; only where there are two protocols or more."""
    found: dict[Place, dict[str, dict[str, Record]]] = {}
    for record in _means(run.records):
        place = (record.world, record.dataset, record.metric, record.features)
        found.setdefault(place, {}).setdefault(record.protocol, {}).setdefault(record.variant, record)
    return {
        place: {name: list(spread[name].values()) for name in sorted(spread, key=lambda name: name != run.protocol)}
        for place, spread in found.items()
        if len(spread) > 1
    }


def _means(records: Sequence[Record]) -> Iterable[Record]:
    """Of each variant the mean over seeds, or its only seed; without what has no value."""
    cells: dict[tuple[str, ...], list[Record]] = {}
    for r in records:
        if r.role == "variant" and r.value is not None:
            key = (r.question, r.variant, r.world, r.dataset, r.metric, r.features, r.protocol)
            cells.setdefault(key, []).append(r)
    for mine in cells.values():
        yield from [r for r in mine if r.seed is None] or (mine if len(mine) == 1 else [])


def _panel(run: Run, place: Place, spread: Spread) -> Panel:
    _, dataset, metric, features = place
    palette = colours(run)
    left, top, right = label_room(spread), 26.0, WIDTH - 14
    bottom = top + ROW * len(spread) + 4
    values = [r.value for records in spread.values() for r in records if r.value is not None]
    log = min(values) > 0 and max(values) > LOG_FROM * min(values)  # some dialects print a thousandfold
    x = Scale(min(values) / 1.3, max(values) * 1.3, left, right, log=True) if log else Scale(*span(values), left, right)
    marks, ticks = [], []
    for place_, (protocol, records) in enumerate(spread.items()):
        y = top + ROW * (place_ + 0.5) + 2
        ticks.append((y, short(protocol, 26)))
        shown = [(r, x(r.value)) for r in records if r.value is not None]
        ends = [at for _, at in shown]
        marks.append(Mark("segment", "base pale", min(ends), y, max(ends), y, words=protocol))
        marks += [
            Mark("dot", palette.get(r.variant, "base"), at, y, r=3.2, words=f"{r.label}, {protocol}: {r.value:.4g}")
            for r, at in reversed(shown)  # the full model on top
        ]
    head = f"{words.metric_name(metric)} ({features})"
    name = f"{words.dataset_name(dataset)}, {head} {words.arrow(metric)}".strip()
    size, room = (WIDTH, bottom + 34), (left, top, right, bottom)
    label = f"{head}, log scale" if log else head
    return Panel(name, f"{name} by protocol", *size, *room, label, "", x.ticks(), tuple(ticks), tuple(marks))


def _moved(place: Place, spread: Spread) -> Iterable[str]:
    """'UCF-101 FVD (tiny-i3d): DynamiCrafter from 120 (a) to 150 (b) ...': the dialect beside the variants."""
    _, dataset, metric, features = place
    named = {r.variant: r.label for records in spread.values() for r in records}
    variant = FULL if FULL in named else next(iter(named))
    mine = {name: r.value for name, rs in spread.items() for r in rs if r.variant == variant and r.value is not None}
    own = [r.value for r in next(iter(spread.values())) if r.value is not None]
    if len(mine) < 2 or not own:
        return
    low, high = min(mine, key=mine.__getitem__), max(mine, key=mine.__getitem__)
    digits = words.places([*mine.values(), *own], [])

    def said(value: float) -> str:
        return words.decimal(value, digits)

    yield (
        f"{words.dataset_name(dataset)} {words.metric_name(metric)} ({features}): the same videos of {named[variant]} "
        f"score {said(mine[low])} under {low} and {said(mine[high])} under {high}; under {next(iter(spread))} the "
        f"variants lie between {said(min(own))} and {said(max(own))}."
    )
