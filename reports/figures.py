"""Which picture tells the story? Results at a glance; the colours and names that all pictures share.

Each function: a run -> a `Figure` with its data as CSV, or None when the run has nothing to show.
Source: run folder files of DESIGN.md section 5; colours of templates/plot.css.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports import words
from reports.cells import Cell, Column, Table
from reports.charts import Figure, Mark, Panel, Scale, css_of, span
from reports.load import Run
from reports.spreadsheet import csv_text

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


def glance(run: Run, table: Table, name: str, title: str = "Results at a glance") -> Figure | None:
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
    return Figure(name, title, caption, panels, csv_text(head, rows)) if rows else None


def _glance_panel(table: Table, index: int, palette: dict[str, str]) -> Panel:
    column = table.columns[index]
    shown = [(row, cell) for row in table.rows if (cell := row.cells[index]) is not None]
    left, top, right = label_room(row.label for row, _ in shown), 26.0, WIDTH - 12
    bottom = top + ROW * len(shown) + 4
    low, high = _window(column, [cell for row, cell in shown if row.role == "baseline"])
    scale = Scale(low, high, left, right)
    marks: list[Mark] = []
    ticks = []
    for place, (row, cell) in enumerate(shown):
        y = top + ROW * (place + 0.5) + 2
        ticks.append((y, short(row.label, 26)))
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


def label_room(labels: Iterable[str]) -> float:
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


def short(sentence: str, most: int = 52) -> str:
    """The sentence, or its beginning and an ellipsis."""
    return sentence if len(sentence) <= most else sentence[: most - 1].rstrip() + "…"
