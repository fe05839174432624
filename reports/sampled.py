"""What does sampling alone change? One trained model, a number turned up and down: curves over factors, heat maps.

A question takes part when its variants say so: factors on lambda in a group of layers, beside the model as it was
trained; or text and image scales that make a grid, in which equal scales may come from single guidance (then
u + s_img (i - u) + s_txt (c - i) is u + s (c - u), the same). Source: records.jsonl and spec.json of the run folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reports import words
from reports.cells import FULL, Sheet
from reports.charts import Figure, Mark, Panel, Scale, css_of, polyline, span
from reports.figures import WIDTH
from reports.load import Json, Run, mapping, number, text
from reports.record import Record
from reports.spreadsheet import csv_text

FACTORS = {"sampling.lambda_middle": "intermediate layers", "sampling.lambda_ends": "two-end layers"}
OF_FACTORS = ("motion", "pic")  # what a factor is drawn against, in this order
OF_GRIDS = ("alignment", "motion", "pic")
LEAST = 2  # values on each axis of a grid
PALEST, DARKEST = 0.05, 0.5  # share of the colour in the lowest and the highest cell: text stays readable on both
CELL = 46.0  # px, height of a cell

Values = dict[tuple[str, str, str], Record]  # (variant, dataset, metric) -> the mean over seeds


@dataclass(frozen=True)
class Sampled:
    """One question: a picture and its numbers."""

    question: str
    figure: Figure
    sheet: Sheet


def sampled(run: Run) -> list[Sampled]:
    """Curves and heat maps of every question that has them, in the order of the run."""
    made = []
    for name, question in mapping(run.spec.get("questions")).items():
        about, values = mapping(question), _values(run, name)
        overrides = {v: mapping(mapping(o).get("overrides")) for v, o in mapping(about.get("variants")).items()}
        for draw in (_factors, _grid):
            found = draw(name, overrides, values)
            if found is not None:
                made.append(Sampled(text(about.get("question")) or name, *found))
    return made


def _values(run: Run, question: str) -> Values:
    records = [r for r in run.records if (r.question, r.seed, r.protocol) == (question, None, run.protocol)]
    return {(r.variant, r.dataset, r.metric): r for r in records if r.value is not None}


def _places(values: Values, variants: Sequence[str], metrics: Sequence[str]) -> list[tuple[str, str]]:
    """(metric, dataset) that the variants were measured on."""
    datasets = list(dict.fromkeys(dataset for _, dataset, _ in values))
    found = [(m, d) for m in metrics for d in datasets]
    return [(m, d) for m, d in found if sum((v, d, m) in values for v in variants) > 1]


def _digits(records: Sequence[Record]) -> int:
    widths = [(r.high - r.low) / 2 for r in records if r.low is not None and r.high is not None]
    return words.places([r.value for r in records if r.value is not None], widths)


def _told(record: Record | None, digits: int) -> str:
    if record is None:
        return words.DASH
    return f"{words.decimal(record.value, digits)} {words.bracket(record.low, record.high, digits)}".strip()


def _name(metric: str, dataset: str) -> str:
    return f"{words.dataset_name(dataset)}, {words.metric_name(metric)} {words.arrow(metric)}".strip()


# ---- factors on lambda ----


def _factors(question: str, overrides: Mapping[str, Json], values: Values) -> tuple[Figure, Sheet] | None:
    """Motion and conformity against the factor, a line per group of layers; None without a factor."""
    plain = FULL if FULL in overrides and not overrides[FULL] else ""
    lines = {key: _line(key, overrides, plain) for key in FACTORS}
    lines = {key: line for key, line in lines.items() if len(line) > 1}
    names = [variant for line in lines.values() for variant in line.values()]
    places = _places(values, names, OF_FACTORS)
    if not lines or not places:
        return None
    panels = tuple(_factor_panel(lines, values, *place) for place in places)
    caption = (
        "Value and interval against the factor on λ of some layers, all other layers as learned. Two-end layers: those "
        "at the latents’ own resolution, the first and the last; all others are intermediate. 1 is the model as it was "
        "trained. Dashed, where it is near: the real clips. One trained model per seed, nothing is trained again."
    )
    legend = tuple((css_of(place + 1), FACTORS[key]) for place, key in enumerate(lines))
    shown = [(FACTORS[key], factor, variant) for key, line in lines.items() for factor, variant in line.items()]
    title = "λ times a factor"
    figure = Figure(f"factors-{question}", title, caption, panels, _factor_csv(shown, values), legend)
    return figure, _factor_sheet(shown, places, values)


def _line(key: str, overrides: Mapping[str, Json], plain: str) -> dict[float, str]:
    """{factor: variant}, rising; the model as it was trained has the factor 1. {} where no variant has a factor."""
    found = {number(own[key]): variant for variant, own in overrides.items() if list(own) == [key]}
    told = {factor: variant for factor, variant in found.items() if factor is not None}
    start = {1.0: plain} if plain and told else {}
    return dict(sorted({**start, **told}.items()))


def _factor_panel(lines: Mapping[str, Mapping[float, str]], values: Values, metric: str, dataset: str) -> Panel:
    left, top, right, bottom = 54.0, 26.0, WIDTH - 12, 190.0
    asked = [(variant, dataset, metric) for line in lines.values() for variant in line.values()]
    found = [values[key] for key in asked if key in values]
    ends = [end for r in found for end in (r.value, r.low, r.high) if end is not None]
    include = _near(values.get(("real", dataset, metric)), *span(ends, 1.0))
    digits = _digits(found)
    factors = sorted({factor for line in lines.values() for factor in line})
    x = Scale(*span(factors, 0.06), left, right)
    y = Scale(*span(ends, include=include), bottom, top)
    marks = [Mark("rule", "zero", left, y(value), right, y(value)) for value in include]
    for place, line in enumerate(lines.values()):
        css, shift = css_of(place + 1), (place - (len(lines) - 1) / 2) * 5
        points = [(factor, values[v, dataset, metric]) for factor, v in line.items() if (v, dataset, metric) in values]
        marks += list(_factor_marks(points, css, shift, x, y, digits))
    name = _name(metric, dataset)
    return Panel(
        name,
        f"{name} against the factor on λ",
        WIDTH,
        bottom + 34,
        left,
        top,
        right,
        bottom,
        "factor on the learned λ",
        words.metric_name(metric),
        tuple((x(factor), f"{factor:g}") for factor in factors),
        y.ticks(),
        tuple(marks),
    )


def _near(real: Record | None, low: float, high: float) -> list[float]:
    """The real clips' value, where it does not press all others together."""
    return [real.value] if real and real.value is not None and low <= real.value <= high else []


def _factor_marks(
    points: Sequence[tuple[float, Record]], css: str, shift: float, x: Scale, y: Scale, digits: int
) -> Iterator[Mark]:
    """A line through the values, and each with its interval."""
    known = [(factor, r.value) for factor, r in points if r.value is not None]
    yield Mark("line", f"{css} thin", points=polyline(known, lambda f: x(f) + shift, y), words=points[0][1].label)
    for factor, record in points:
        said, at = f"{record.label}: {_told(record, digits)}", x(factor) + shift
        if record.low is not None and record.high is not None:
            yield Mark("segment", css, at, y(record.low), at, y(record.high), words=said)
        if record.value is not None:
            yield Mark("dot", css, at, y(record.value), r=3.2, words=said)


def _factor_csv(shown: Sequence[tuple[str, float, str]], values: Values) -> str:
    rows = [
        (layers, factor, variant, dataset, metric, r.value, r.low, r.high, r.n)
        for layers, factor, variant in shown
        for (of, dataset, metric), r in values.items()
        if of == variant
    ]
    return csv_text(("layers", "factor", "variant", "dataset", "metric", "value", "low", "high", "n"), rows)


def _factor_sheet(shown: Sequence[tuple[str, float, str]], places: Sequence[tuple[str, str]], values: Values) -> Sheet:
    columns = {(m, d): _digits([values[v, d, m] for _, _, v in shown if (v, d, m) in values]) for m, d in places}
    rows = [
        (layers, f"{factor:g}", *(_told(values.get((v, d, m)), digits) for (m, d), digits in columns.items()))
        for layers, factor, v in shown
    ]
    return Sheet("λ times a factor, in numbers", ("λ of", "Factor", *(_name(*place) for place in places)), tuple(rows))


# ---- grids of guidance scales ----


def _grid(question: str, overrides: Mapping[str, Json], values: Values) -> tuple[Figure, Sheet] | None:
    """Heat maps over (s_txt, s_img), a panel per metric and dataset; None without a grid."""
    cells = dict(_scales(overrides))
    across, down = (sorted({pair[axis] for pair in cells}) for axis in (1, 0))
    places = _places(values, list(cells.values()), OF_GRIDS)
    if min(len(across), len(down)) < LEAST or not places:
        return None
    panels = tuple(_heat_panel(cells, values, across, down, *place) for place in places)
    caption = (
        "Mean over seeds at every pair of guidance scales; the stronger the colour, the larger in this panel. "
        "Outlined: equal scales, which is single guidance. Intervals are in the table."
    )
    rows = [
        (*pair, variant, dataset, metric, r.value, r.low, r.high, r.n)
        for pair, variant in cells.items()
        for (of, dataset, metric), r in values.items()
        if of == variant
    ]
    head = ("s_txt", "s_img", "variant", "dataset", "metric", "value", "low", "high", "n")
    figure = Figure(f"scales-{question}", "Text and image guidance", caption, panels, csv_text(head, rows))
    return figure, _grid_sheet(cells, values, across, down, places)


def _scales(overrides: Mapping[str, Json]) -> Iterator[tuple[tuple[float, float], str]]:
    """((s_txt, s_img), variant) of the variants that set guidance and nothing else."""
    keys = ["sampling.guidance", "sampling.image_scale", "sampling.text_scale"]
    for variant, own in overrides.items():
        txt, img = (number(own.get(key)) for key in ("sampling.text_scale", "sampling.image_scale"))
        kind = own.get("sampling.guidance")
        if kind == "single" and sorted(own) == [keys[0], keys[2]] and txt is not None:
            yield (txt, txt), variant
        if kind == "two_scale" and sorted(own) == keys and txt is not None and img is not None:
            yield (txt, img), variant


def _heat_panel(
    cells: Mapping[tuple[float, float], str],
    values: Values,
    across: Sequence[float],
    down: Sequence[float],
    metric: str,
    dataset: str,
) -> Panel:
    left, top, right = 54.0, 26.0, WIDTH - 12
    wide, bottom = (right - left) / len(across), top + CELL * len(down)
    found = {pair: values[v, dataset, metric] for pair, v in cells.items() if (v, dataset, metric) in values}
    digits = _digits(list(found.values()))
    shade = Scale(*span([r.value for r in found.values() if r.value is not None], 0.0), PALEST, DARKEST)
    marks = []
    for (txt, img), record in found.items():
        x, y = left + wide * across.index(img), top + CELL * (len(down) - 1 - down.index(txt))
        css = "heat equal" if txt == img else "heat"
        said = f"{record.label}: {_told(record, digits)}"
        value = record.value or 0.0
        marks.append(Mark("cell", css, x + 1.5, y + 1.5, wide - 3, CELL - 3, shade(value), words=said))
        told = words.decimal(record.value, digits)
        marks.append(Mark("text", "value", x + wide / 2, y + CELL / 2 + 4, words=told, anchor="middle"))
    name = _name(metric, dataset)
    return Panel(
        name,
        f"{name}, a heat map over text and image guidance scale",
        WIDTH,
        bottom + 34,
        left,
        top,
        right,
        bottom,
        "image scale s_img",
        "text scale s_txt",
        tuple((left + wide * (k + 0.5), f"{value:g}") for k, value in enumerate(across)),
        tuple((top + CELL * (len(down) - k - 0.5), f"{value:g}") for k, value in enumerate(down)),
        tuple(marks),
    )


def _grid_sheet(
    cells: Mapping[tuple[float, float], str],
    values: Values,
    across: Sequence[float],
    down: Sequence[float],
    places: Sequence[tuple[str, str]],
) -> Sheet:
    rows = []
    for metric, dataset in places:
        found = {pair: values.get((v, dataset, metric)) for pair, v in cells.items()}
        digits = _digits([r for r in found.values() if r is not None])
        for txt in down:
            told = (_told(found.get((txt, img)), digits) for img in across)
            rows.append((_name(metric, dataset), f"{txt:g}", *told))
    head = ("Measured", "s_txt", *(f"s_img {value:g}" for value in across))
    return Sheet("Text and image guidance, in numbers", head, tuple(rows))
