"""Do loops close, and do clips between two pictures end there? A table of the ends, and film strips with their numbers.

A question takes part when one of its variants has a task. A strip is every frame of a clip, from left to right, behind
a gap what it should end at. Source: records.jsonl, spec.json and samples/index.json of the run folder.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from reports import words
from reports.load import Run, mapping, number, text
from reports.record import Record
from reports.samples import Grid, Sample, Tile

METRICS = ("end_conformity", "loop_closure", "step_distance")
HEAD = {"end_conformity": "end conformity ↑", "loop_closure": "closing ↓", "step_distance": "step"}
BASELINES = ("static", "reconstruction", "real")  # that a number is read beside
SIDE, GAP = 56, 14  # pixels of a frame in a strip, and before what it should end at
MOST = 2  # samples of each data set

Values = Mapping[tuple[str, str, str], Record]  # (variant, dataset, metric) -> the mean over seeds


@dataclass(frozen=True)
class Strip:
    """One clip: its variant, what was measured of it, and all its frames as one picture (a data: address)."""

    label: str
    said: str
    picture: str
    width: int
    height: int


@dataclass(frozen=True)
class Strips:
    """The clips of one sample."""

    dataset: str
    prompt: str
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class Applications:
    """One question: its table and its strips."""

    question: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    shown: tuple[Strips, ...]


def applications(run: Run, grids: Sequence[Grid]) -> list[Applications]:
    """The questions whose variants have tasks, in the order of the run."""
    made = []
    for name, question in mapping(run.spec.get("questions")).items():
        about = mapping(question)
        variants = {v: mapping(said) for v, said in mapping(about.get("variants")).items()}
        tasks = {v: text(mapping(said.get("overrides")).get("task")) or "animate" for v, said in variants.items()}
        values = _values(run, name)
        if set(tasks.values()) <= {"animate"} or not values:
            continue
        head, rows = _table(values)
        labels = {v: text(said.get("label")) or v for v, said in variants.items()}
        shown = tuple(_shown(run, name, tasks, labels, grids))
        made.append(Applications(text(about.get("question")) or name, head, rows, shown))
    return made


def _values(run: Run, question: str) -> Values:
    records = [r for r in run.records if (r.question, r.seed, r.protocol) == (question, None, run.protocol)]
    return {(r.variant, r.dataset, r.metric): r for r in records if r.value is not None and r.metric in METRICS}


def _table(values: Values) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Head and rows: variants in their order, then the baselines that say what nothing and everything would reach."""
    roles = {(r.variant, r.label, r.role): None for r in values.values()}
    rows = [(v, label) for v, label, role in roles if role == "variant"]
    rows += [(v, label) for v, label, role in roles if role == "baseline" and v in BASELINES]
    datasets = list(dict.fromkeys(dataset for _, dataset, _ in values))
    places = [(dataset, metric) for dataset in datasets for metric in METRICS]
    names = (f"{words.dataset_name(dataset)}, {HEAD[metric]}" for dataset, metric in places)
    cells = [(label, *(_told(values.get((v, *place))) for place in places)) for v, label in rows]
    return ("Variant", *names), tuple(cells)


def _told(record: Record | None) -> str:
    if record is None:
        return words.DASH
    return f"{words.decimal(record.value, 3)} {words.bracket(record.low, record.high, 3)}".strip()


# ---- strips ----


def _shown(
    run: Run, question: str, tasks: Mapping[str, str], labels: Mapping[str, str], grids: Sequence[Grid]
) -> Iterator[Strips]:
    """The first samples of each data set, those of the variants that the run has videos and numbers of."""
    entries = {(text(e.get("dataset")), int(number(e.get("n")) or 0)): mapping(e.get("ends")) for e in run.samples}
    for grid in grids:
        for sample in grid.samples[:MOST]:
            ends, strips = entries.get((grid.dataset, sample.n), {}), []
            for variant, task in tasks.items():
                tile, own = _of_variant(sample, ends, question, variant)
                if tile is not None and tile.frames:
                    strips.append(_strip(labels[variant], task, tile, own, sample))
            if strips:
                yield Strips(grid.dataset, sample.prompt, tuple(strips))


def _of_variant(
    sample: Sample, ends: Mapping[str, object], question: str, variant: str
) -> tuple[Tile | None, Mapping[str, object]]:
    """A variant's video, and what was measured of it; its folder carries the question where the name is taken."""
    tiles = {tile.name: tile for tile in sample.tiles}
    for name in (f"{question}.{variant}", variant):
        if name in tiles and name in ends:
            return tiles[name], mapping(ends[name])
    return None, {}


def _strip(label: str, task: str, tile: Tile, own: Mapping[str, object], sample: Sample) -> Strip:
    real = next((one.frames for one in sample.tiles if one.name == "real" and one.frames), ())
    wanted = tile.frames[:1] if task == "loop" else real[-1:]
    picture = _drawn(tile.frames, wanted)
    return Strip(label, ", ".join(_numbers(own)), _address(picture), *picture.size)


def _numbers(own: Mapping[str, object]) -> Iterator[str]:
    """What was measured, in words: the closing distance beside the distance between neighbouring frames."""
    end, closing, step = (number(own.get(metric)) for metric in METRICS)
    if end is not None:
        yield f"ends at conformity {words.decimal(end, 3)}"
    if closing is not None:
        yield f"closes at {words.decimal(closing, 3)}"
    if step is not None:
        yield f"neighbouring frames are {words.decimal(step, 3)} apart"


def _drawn(frames: Sequence[Image.Image], wanted: Sequence[Image.Image]) -> Image.Image:
    """The frames side by side, then a gap and what the clip should end at."""
    width = len(frames) * SIDE + (GAP + SIDE if wanted else 0)
    height = max(1, round(SIDE * frames[0].height / frames[0].width))
    strip = Image.new("RGB", (width, height), "white")
    for place, frame in enumerate((*frames, *wanted)):
        left = place * SIDE + (GAP if place >= len(frames) else 0)
        strip.paste(frame.resize((SIDE, height), Image.Resampling.BOX), (left, 0))
    return strip


def _address(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"
