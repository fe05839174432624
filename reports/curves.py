"""How did training go? Loss and gradient norm by step, and the weight lambda of the image stream by layer.

Source: curves.jsonl of the run folder, one line per logged optimiser step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reports import words
from reports.cells import Sheet
from reports.charts import Figure, Mark, Panel, Scale, polyline, running_mean, span, thin
from reports.figures import WIDTH, colours, variant_labels
from reports.load import Json, Run, mapping, number, text
from reports.spreadsheet import csv_text


@dataclass(frozen=True)
class Curve:
    """One training: the variants that share it, its stage and seed, and its logged lines in order of step."""

    variants: tuple[str, ...]
    stage: str
    seed: int
    lines: tuple[Json, ...]

    def points(self, key: str) -> list[tuple[float, float]]:
        """(step, value of `key`) of the lines that have both."""
        pairs = [(number(line.get("step")), number(line.get(key))) for line in self.lines]
        return [(step, value) for step, value in pairs if step is not None and value is not None]


def curves(run: Run) -> list[Curve]:
    """The logged lines by training; a training that several variants share is there once, under all names."""
    grouped: dict[tuple[str, str, int, str], list[Json]] = {}
    for line in run.curves:
        seed, questions = int(number(line.get("seed")) or 0), text(line.get("question"))
        key = (text(line.get("variant")), text(line.get("stage")), seed, questions)
        grouped.setdefault(key, []).append(line)
    shared: dict[tuple[object, ...], list[str]] = {}
    first: dict[tuple[object, ...], tuple[str, int, list[Json]]] = {}
    for (variant, stage, seed, _), lines in grouped.items():
        lines.sort(key=lambda line: number(line.get("step")) or 0)
        same = (stage, seed, tuple((number(li.get("step")), number(li.get("loss"))) for li in lines))
        names = shared.setdefault(same, [])
        names += [variant] if variant not in names else []
        first.setdefault(same, (stage, seed, lines))
    return [Curve(tuple(shared[k]), stage, seed, tuple(lines)) for k, (stage, seed, lines) in first.items()]


def curve_figures(run: Run) -> list[Figure]:
    """Loss and gradient norm against the step, a panel per stage."""
    quantities = (
        ("loss", "Training loss", "mean squared error"),
        ("grad_norm", "Gradient norm", "L2 norm before clipping"),
    )
    made = (_curve_figure(run, curves(run), *quantity) for quantity in quantities)
    return [figure for figure in made if figure is not None]


def _curve_figure(run: Run, trained: Sequence[Curve], key: str, title: str, unit: str) -> Figure | None:
    stages = list(dict.fromkeys(curve.stage for curve in trained if curve.points(key)))
    stages.sort(key=lambda stage: list(words.STAGES).index(stage) if stage in words.STAGES else 99)
    panels = tuple(_curve_panel(run, [c for c in trained if c.stage == s], s, key, unit) for s in stages)
    rows = [(", ".join(c.variants), c.stage, c.seed, step, value) for c in trained for step, value in c.points(key)]
    caption = (
        f"{title} ({unit}) against the optimiser step; mean over training seeds, smoothed by a running mean "
        "over a tenth of the stage. Variants that share a stage share its line."
    )
    head = ("variants", "stage", "seed", "step", key)
    if not panels:
        return None
    return Figure(key, title, caption, panels, csv_text(head, rows), legend=_legend(run, trained))


def _legend(run: Run, trained: Sequence[Curve]) -> tuple[tuple[str, str], ...]:
    """The variants that were trained: others are sampled from their models."""
    labels, names = variant_labels(run), {name for curve in trained for name in curve.variants}
    return tuple((css, labels[name]) for name, css in colours(run).items() if name in names)


def _curve_panel(run: Run, trained: Sequence[Curve], stage: str, key: str, unit: str) -> Panel:
    lines = _seed_means(trained, key)
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    left, top, right, bottom = 50.0, 26.0, WIDTH - 12, 190.0
    x, y = Scale(*span(xs, 0.0), left, right), Scale(*span(ys), bottom, top)
    palette, labels = colours(run), variant_labels(run)
    marks = []
    for variants, points in lines.items():
        kept = thin(points)
        said = words.listed([labels.get(name, name) for name in variants])
        place = polyline(kept, x, y)
        marks.append(Mark("line", palette.get(variants[0], "base"), points=place, words=said))
    title = words.STAGES.get(stage, f"Stage {stage}")
    return Panel(
        title,
        f"{title}: {unit} by step",
        WIDTH,
        bottom + 34,
        left,
        top,
        right,
        bottom,
        "optimiser step",
        unit,
        x.ticks(),
        y.ticks(),
        tuple(marks),
    )


def _seed_means(trained: Sequence[Curve], key: str) -> dict[tuple[str, ...], list[tuple[float, float]]]:
    """variants -> smoothed mean over seeds of the steps that every seed logged."""
    means = {}
    for variants in dict.fromkeys(curve.variants for curve in trained):
        seeds = [dict(curve.points(key)) for curve in trained if curve.variants == variants]
        steps = sorted(set.intersection(*[set(seed) for seed in seeds]))
        if not steps:
            continue
        mean = [sum(seed[step] for seed in seeds) / len(seeds) for step in steps]
        means[variants] = list(zip(steps, running_mean(mean, max(1, len(mean) // 10)), strict=True))
    return means


def lambda_figure(run: Run) -> Figure | None:
    """The image stream's weight in each layer after the last step of training, by variant and seed."""
    scales = _final_scales(run)
    layers = list(dict.fromkeys(layer for by_layer in scales.values() for layer in by_layer))
    if not layers:
        return None
    panel = _lambda_panel(run, scales, layers)
    labels = variant_labels(run)
    rows = [
        (labels.get(name, name), seed, layers.index(layer) + 1, layer, value)
        for (name, seed), by_layer in scales.items()
        for layer, value in by_layer.items()
    ]
    caption = (
        "λ = tanh(α) + 1 of each spatial cross-attention, from the U-Net's input to its output, after the "
        "last training step. Line: mean over seeds; dots: single seeds; grey rule: λ = 1, the start and the "
        "value of a fixed λ."
    )
    shown = {
        palette: label
        for palette, label in _legend(run, curves(run))
        if any(colours(run).get(name) == palette for name, _ in scales)
    }
    return Figure(
        "lambda",
        "λ per layer as learned",
        caption,
        (panel,),
        csv_text(("variant", "seed", "layer_index", "layer", "lambda"), rows),
        tuple(shown.items()),
    )


def _final_scales(run: Run) -> dict[tuple[str, int], dict[str, float]]:
    """(variant, seed) -> layer -> λ of the last logged line; variants whose λ are all 1 (fixed) left out."""
    last: dict[tuple[str, int], dict[str, float]] = {}
    for curve in sorted(
        curves(run), key=lambda c: list(words.STAGES).index(c.stage) if c.stage in words.STAGES else 99
    ):
        scales = {k: v for k, v in ((k, number(v)) for k, v in _scale_of(curve).items()) if v is not None}
        for name in curve.variants:
            if scales:
                last[name, curve.seed] = scales
    return {key: scales for key, scales in last.items() if any(abs(v - 1) > 1e-9 for v in scales.values())}


def _scale_of(curve: Curve) -> Json:
    return mapping(curve.lines[-1].get("image_scale")) if curve.lines else {}


def _lambda_panel(run: Run, scales: dict[tuple[str, int], dict[str, float]], layers: list[str]) -> Panel:
    left, top, right, bottom = 54.0, 12.0, 640.0, 220.0
    values = [v for by_layer in scales.values() for v in by_layer.values()]
    x = Scale(0.5, len(layers) + 0.5, left, right)
    y = Scale(*span(values, include=[1.0]), bottom, top)
    palette, labels = colours(run), variant_labels(run)
    marks = [Mark("rule", "zero", left, y(1), right, y(1))]
    names = list(dict.fromkeys(name for name, _ in scales))
    for place, name in enumerate(names):
        seeds = [by_layer for (variant, _), by_layer in scales.items() if variant == name]
        css, shift = palette.get(name, "base"), (place - (len(names) - 1) / 2) * 0.5 / max(len(names), 1)
        means = [(i + 1 + shift, _mean(s[layer] for s in seeds if layer in s)) for i, layer in enumerate(layers)]
        marks.append(
            Mark(
                "line",
                css + " thin",
                points=polyline(means, x, y),
                words=labels.get(name, name),
            )
        )
        marks += [
            Mark(
                "dot",
                css,
                x(i + 1 + shift),
                y(s[layer]),
                r=2.2,
                words=f"{labels.get(name, name)}, {layer}: {s[layer]:.3f}",
            )
            for s in seeds
            for i, layer in enumerate(layers)
            if layer in s
        ]
    every = max(1, len(layers) // 16 + (len(layers) % 16 > 0))
    ticks = tuple((x(i + 1), str(i + 1)) for i in range(0, len(layers), every))
    return Panel(
        "",
        "λ by layer and variant",
        right + 12,
        bottom + 36,
        left,
        top,
        right,
        bottom,
        "cross-attention layer, input to output",
        "λ",
        ticks,
        y.ticks(),
        tuple(marks),
    )


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known) if known else 1.0


def lambda_sheet(run: Run) -> Sheet | None:
    """λ of each layer by variant, the mean over seeds and their range; None without a learned one."""
    scales, labels = _final_scales(run), variant_labels(run)
    names, layers = list(dict.fromkeys(name for name, _ in scales)), layer_names(run)
    rows = []
    for place, layer in enumerate(layers):
        told = []
        for name in names:
            mine = [by_layer for (variant, _), by_layer in scales.items() if variant == name]
            seeds = [by_layer[layer] for by_layer in mine if layer in by_layer]
            ends = words.bracket(min(seeds), max(seeds), 3) if len(seeds) > 1 else ""
            told.append(f"{words.decimal(_mean(seeds), 3)} {ends}".strip() if seeds else words.DASH)
        rows.append((str(place + 1), layer, *told))
    head = ("Layer", "Name", *(labels.get(name, name) for name in names))
    return Sheet("λ per layer, in numbers: mean over seeds, and the seeds’ range", head, tuple(rows)) if rows else None


def layer_names(run: Run) -> list[str]:
    """Names behind the layer numbers of `lambda_figure`, in order."""
    scales = _final_scales(run)
    return list(dict.fromkeys(layer for by_layer in scales.values() for layer in by_layer))
