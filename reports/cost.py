"""What did the run cost? Seconds and memory by kind of step, as a table and as a figure.

Source: costs.jsonl of the run folder, one line per step; steps that were reused bring the cost of when they were
made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from reports import words
from reports.charts import Figure, Mark, Panel, Scale
from reports.figures import ROW, WIDTH
from reports.load import Json, Run, number, text
from reports.spreadsheet import csv_text

KEYS = ("label", "kind", "fingerprint", "seconds", "cpu_seconds", "peak_memory_mb", "reused")
HEAD = ("Kind of step", "Done", "Reused", "Time", "Per step", "CPU time", "Peak memory")


def cost_rows(run: Run) -> list[tuple[str, ...]]:
    """Per kind of step, in words: kind, done, reused, time, time per step, CPU time, peak memory."""
    return [_row(kind, mine) for kind, mine in _by_kind(run).items()]


def _by_kind(run: Run) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = {}
    for cost in run.costs:
        found.setdefault(text(cost.get("kind")), []).append(cost)
    return found


def _row(kind: str, mine: Sequence[Json]) -> tuple[str, ...]:
    done = [cost for cost in mine if not cost.get("reused")]
    wall, every = _total(done, "seconds"), _total(mine, "seconds")
    saved = every - wall
    reused = f"{len(mine) - len(done)}" + (f" (saved {words.seconds(saved)})" if saved else "")
    peak = words.megabytes(_peak(mine) or None)
    each = words.seconds(every / len(mine))
    return kind, str(len(done)), reused, words.seconds(wall), each, words.seconds(_total(done, "cpu_seconds")), peak


def _total(costs: Sequence[Json], key: str) -> float:
    return sum(number(cost.get(key)) or 0 for cost in costs)


def _peak(costs: Sequence[Json]) -> float:
    return max((number(cost.get("peak_memory_mb")) or 0 for cost in costs), default=0.0)


def cost_figure(run: Run) -> Figure | None:
    """A bar for each kind of step: seconds (done in this run, then reused), and the most memory of one step."""
    if not run.costs:
        return None
    kinds = _by_kind(run)
    caption = (
        "Left: dark is work done in this run, pale was reused and counts as long as it took when it was made. "
        "Right: the most memory that one step of the kind held."
    )
    data = csv_text(KEYS, ([cost.get(key) for key in KEYS] for cost in run.costs))
    panels = (_seconds_panel(kinds), _memory_panel(kinds))
    return Figure("costs", "Time and memory by kind of step", caption, panels, data)


def _seconds_panel(kinds: Mapping[str, Sequence[Json]]) -> Panel:
    own = {kind: _total([c for c in mine if not c.get("reused")], "seconds") for kind, mine in kinds.items()}
    every = {kind: _total(mine, "seconds") for kind, mine in kinds.items()}
    order = sorted(kinds, key=lambda kind: -every[kind])
    return _bars("Time", "seconds of work, all workers", order, own, every, words.seconds)


def _memory_panel(kinds: Mapping[str, Sequence[Json]]) -> Panel:
    peak = {kind: _peak(mine) for kind, mine in kinds.items()}
    order = sorted(kinds, key=lambda kind: -peak[kind])
    return _bars("Peak memory", "megabytes, largest step", order, peak, peak, words.megabytes)


def _bars(
    title: str,
    label: str,
    order: Sequence[str],
    own: Mapping[str, float],
    every: Mapping[str, float],
    say: Callable[[float], str],
) -> Panel:
    left, top, right = 84.0, 26.0, WIDTH - 84
    bottom = top + ROW * len(order) + 4
    scale = Scale(0, max(every.values()) or 1.0, left, right)
    marks, ticks = [], []
    for place, kind in enumerate(order):
        y = top + ROW * (place + 0.5) + 2
        ticks.append((y, kind))
        marks.append(Mark("segment", "bar", scale(0), y, scale(own[kind]), y, words=say(own[kind])))
        if every[kind] > own[kind]:
            marks.append(Mark("segment", "bar reused", scale(own[kind]), y, scale(every[kind]), y, words="reused"))
        marks.append(Mark("text", "note", scale(every[kind]) + 6, y + 4, words=say(every[kind])))
    size, room = (WIDTH, bottom + 34), (left, top, right, bottom)
    return Panel(title, f"{title}: {label}", *size, *room, label, "", scale.ticks(3), tuple(ticks), tuple(marks))
