"""Which pictures tell the story? Results at a glance, effects of the claims, cost.

Each function: a run -> a `Figure` with its data as CSV, or None when the run has nothing to show.
Source: run folder files of DESIGN.md section 5; colours of Okabe and Ito (2008).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports import words
from reports.charts import Figure, Mark, Panel, Scale, bulk, css_of, span
from reports.load import Claim, Run, number, text
from reports.spreadsheet import csv_text
from reports.tables import Cell, Column, Table

WIDTH = 352.0  # px: a phone shows one panel, a desk three side by side
ROW = 21.0  # px per row of a dot plot


def variant_labels(run: Run) -> dict[str, str]:
    """variant -> label, in the order of the records; a variant's place is its colour everywhere."""
    labels: dict[str, str] = {}
    for record in run.records:
        if record.role == "variant":
            labels.setdefault(record.variant, record.label)
    return labels


def colours(run: Run) -> dict[str, str]:
    """variant -> CSS classes; the full model first, in the colour of the text."""
    names = sorted(variant_labels(run), key=lambda name: name != "full")
    return {name: css_of(index) for index, name in enumerate(names)}


def glance(run: Run, table: Table, name: str) -> Figure | None:
    """Value, interval and seeds of every row, a panel per column of the table."""
    palette = colours(run)
    panels = tuple(_glance_panel(table, index, palette) for index in range(len(table.columns)))
    rows = [
        (
            c.dataset,
            c.metric,
            c.features,
            row.label,
            cell.value,
            cell.low,
            cell.high,
            " ".join(f"{seed}:{value!r}" for seed, value in cell.seeds),
        )
        for row in table.rows
        for c, cell in zip(table.columns, row.cells, strict=True)
        if cell is not None
    ]
    head = ("dataset", "metric", "features", "row", "value", "low", "high", "seeds")
    caption = (
        "Large mark: mean over training seeds; bar: interval; small dots: single seeds. "
        "Grey: baselines without a model. An arrow points at a value beyond the axis."
    )
    return Figure(name, "Results at a glance", caption, panels, csv_text(head, rows)) if rows else None


def _glance_panel(table: Table, index: int, palette: dict[str, str]) -> Panel:
    column = table.columns[index]
    shown = [(row, cell) for row in table.rows if (cell := row.cells[index]) is not None]
    left, top, right = _label_room(row.label for row, _ in shown), 26.0, WIDTH - 12
    bottom = top + ROW * len(shown) + 4
    low, high = _window(column, [cell for row, cell in shown if row.role == "baseline"])
    scale = Scale(low, high, left, right)
    marks: list[Mark] = []
    ticks = []
    for place, (row, cell) in enumerate(shown):
        y = top + ROW * (place + 0.5) + 2
        ticks.append((y, _short(row.label, 26)))
        css = palette.get(row.variant, "base") if row.role == "variant" else "base"
        marks += _cell_marks(cell, y, css, scale, f"{row.label}: ", column.digits)
    name = f"{words.dataset_name(column.dataset)}, {column.head} {words.arrow(column.metric)}"
    return Panel(
        name,
        f"Dot plot of {name} by row",
        WIDTH,
        bottom + 34,
        left,
        top,
        right,
        bottom,
        x_label=f"{column.head}",
        x_ticks=scale.ticks(),
        y_ticks=tuple(ticks),
        marks=tuple(marks),
    )


def _label_room(labels: Iterable[str]) -> float:
    """Pixels left of a plot for the longest label, at 11 px of a common sans serif."""
    return min(166.0, 16 + 5.9 * max((min(len(label), 26) for label in labels), default=8))


def _window(column: Column, baselines: Sequence[Cell]) -> tuple[float, float]:
    """The variants' range, widened to baselines that are no further than its own width away."""
    width = column.high - column.low or abs(column.high) or 1.0
    near = [c.value for c in baselines if c.value is not None and column.low - width <= c.value <= column.high + width]
    return span([column.low, column.high, *near])


def _cell_marks(cell: Cell, y: float, css: str, scale: Scale, name: str, digits: int) -> list[Mark]:
    if cell.value is None:
        return [Mark("text", "note", (scale.start + scale.stop) / 2, y + 4, words="no value", anchor="middle")]
    said = name + f"{words.decimal(cell.value, digits)} {words.bracket(cell.low, cell.high, digits)}"
    if not scale.low <= cell.value <= scale.high:
        above = cell.value > scale.high
        said_at = f"{words.decimal(cell.value, digits)} →" if above else f"← {words.decimal(cell.value, digits)}"
        return [
            Mark(
                "text",
                "note",
                scale.stop if above else scale.start,
                y + 4,
                words=said_at,
                anchor="end" if above else "start",
            )
        ]
    marks = []
    if cell.low is not None and cell.high is not None:
        ends = [scale(min(max(end, scale.low), scale.high)) for end in (cell.low, cell.high)]
        marks.append(Mark("segment", css, ends[0], y, ends[1], y, words=said))
    marks += [
        Mark("dot", css + " seed", scale(value), y - 6, r=1.7, words=f"{name}seed {seed}: {value:g}")
        for seed, value in cell.seeds
        if scale.low <= value <= scale.high
    ]
    return [*marks, Mark("dot", css, scale(cell.value), y, r=3.4, words=said)]


def forest(claims: Sequence[Claim], claim: Claim) -> Panel:
    """One claim's effect, on the axis that all claims of its metric share; right of zero: for the claim."""
    width, height, y = 220.0, 30.0, 17.0
    peers = [c for c in claims if (c.metric, c.unit) == (claim.metric, claim.unit)]
    scale = Scale(*_reach(peers), 8, width - 8)
    said = f"effect {claim.effect} [{claim.low}, {claim.high}] {claim.unit}"
    marks = [Mark("rule", "zero", scale(0), 1, scale(0), height - 1), *_effect_marks(claim, y, scale, said)]
    return Panel("", f"{claim.claim}: {said}", width, height, 8, 2, width - 8, height, marks=tuple(marks))


def _reach(claims: Sequence[Claim]) -> tuple[float, float]:
    """A range symmetric about zero that most of the claims fit in."""
    groups = [[v for v in (c.effect, c.low, c.high, *c.per_seed) if v is not None] for c in claims]
    low, high = bulk([[abs(value) for value in group] for group in groups], times=1.5)
    reach = max(abs(low), abs(high)) * 1.08 or 1.0
    return -reach, reach


def _effect_marks(claim: Claim, y: float, scale: Scale, said: str) -> list[Mark]:
    """Interval, effect and seeds of a claim; an arrow at the edge when the effect is beyond the axis."""
    css = f"v-{claim.verdict}"
    if claim.effect is None:
        return []
    if not scale.low <= claim.effect <= scale.high:
        side, at = (-1, scale.start) if claim.effect < scale.low else (1, scale.stop)
        back = at - side * 7
        head = f"{at:g},{y:g} {back:g},{y - 4.5:g} {back:g},{y + 4.5:g}"
        return [
            Mark("arrow", css, points=head, words=said),
            Mark("segment", css, back, y, back - side * 8, y, words=said),
        ]
    marks = []
    if claim.low is not None and claim.high is not None:
        ends = [scale(min(max(end, scale.low), scale.high)) for end in (claim.low, claim.high)]
        marks.append(Mark("segment", css, ends[0], y, ends[1], y, words=said))
    marks += [
        Mark("dot", css + " seed", scale(value), y - 8, r=1.8, words=f"a seed: {value:g}")
        for value in claim.per_seed
        if scale.low <= value <= scale.high
    ]
    return [*marks, Mark("dot", css, scale(claim.effect), y, r=3.6, words=said)]


def forest_figure(run: Run) -> Figure | None:
    """All effects, a panel per metric: the claims table as one picture, for Markdown and for downloading."""
    metrics = list(dict.fromkeys((c.metric, c.unit) for c in run.claims))
    panels = tuple(_forest_panel([c for c in run.claims if (c.metric, c.unit) == key], key) for key in metrics)
    head = (
        "question",
        "claim",
        "metric",
        "dataset",
        "better",
        "effect",
        "low",
        "high",
        "level",
        "p",
        "p_holm",
        "verdict",
        "n",
        "seeds",
        "unit",
        "per_seed",
    )
    rows = [
        (
            c.question,
            c.claim,
            c.metric,
            c.dataset,
            " > ".join(c.better),
            c.effect,
            c.low,
            c.high,
            c.level,
            c.p,
            c.p_holm,
            c.verdict,
            c.n,
            c.seeds,
            c.unit,
            " ".join(map(repr, c.per_seed)),
        )
        for c in run.claims
    ]
    caption = "Effect of each claim with its interval; right of zero speaks for the sentence, left against it."
    return Figure("claims", "Effects of the claims", caption, panels, csv_text(head, rows)) if rows else None


def _forest_panel(claims: Sequence[Claim], key: tuple[str, str]) -> Panel:
    left, top, right = 380.0, 26.0, 700.0
    bottom = top + ROW * len(claims) + 4
    scale = Scale(*_reach(claims), left, right)
    marks = [Mark("rule", "zero", scale(0), top, scale(0), bottom)]
    ticks = []
    for place, claim in enumerate(claims):
        y = top + ROW * (place + 0.5) + 2
        ticks.append((y, f"{_short(claim.claim)} ({words.dataset_name(claim.dataset)})"))
        marks += _effect_marks(claim, y, scale, claim.verdict)
        marks.append(Mark("text", "note", right + 8, y + 4, words=f"{words.SIGNS[claim.verdict]} {claim.verdict}"))
    name = f"{words.metric_name(key[0])}, effect in favour of the claim"
    return Panel(
        name,
        name,
        right + 92,
        bottom + 34,
        left,
        top,
        right,
        bottom,
        x_label=key[1] or "effect",
        x_ticks=scale.ticks(),
        y_ticks=tuple(ticks),
        marks=tuple(marks),
    )


def _short(sentence: str, most: int = 52) -> str:
    return sentence if len(sentence) <= most else sentence[: most - 1].rstrip() + "…"


COST_KEYS = ("label", "kind", "fingerprint", "seconds", "cpu_seconds", "peak_memory_mb", "reused")


def cost_figure(run: Run) -> Figure | None:
    """Seconds by kind of step, a bar each: done in this run, then reused."""
    if not run.costs:
        return None
    sums: dict[str, dict[bool, float]] = {}
    for cost in run.costs:
        of_kind = sums.setdefault(text(cost.get("kind")), {False: 0.0, True: 0.0})
        of_kind[bool(cost.get("reused"))] += number(cost.get("seconds")) or 0
    caption = "Dark: done in this run; pale: reused, as long as they took when they were made."
    data = csv_text(COST_KEYS, ([cost.get(key) for key in COST_KEYS] for cost in run.costs))
    return Figure("costs", "Time by kind of step", caption, (_cost_panel(sums),), data)


def _cost_panel(sums: dict[str, dict[bool, float]]) -> Panel:
    order = sorted(sums, key=lambda kind: -sum(sums[kind].values()))
    left, top, right = 84.0, 6.0, WIDTH - 84
    bottom = top + ROW * len(order) + 4
    scale = Scale(0, max(sum(parts.values()) for parts in sums.values()) or 1.0, left, right)
    marks, ticks = [], []
    for place, kind in enumerate(order):
        y, own, every = top + ROW * (place + 0.5) + 2, sums[kind][False], sum(sums[kind].values())
        ticks.append((y, kind))
        marks.append(Mark("segment", "bar", scale(0), y, scale(own), y, words=words.seconds(own)))
        marks.append(Mark("segment", "bar reused", scale(own), y, scale(every), y, words="reused"))
        marks.append(Mark("text", "note", scale(every) + 6, y + 4, words=words.seconds(every)))
    size, room = (WIDTH, bottom + 34), (left, top, right, bottom)
    label = "seconds of work, all workers"
    return Panel("", label, *size, *room, label, "", scale.ticks(3), tuple(ticks), tuple(marks))
