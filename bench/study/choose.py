"""Which videos are people asked about? Run folders -> systems and inputs that all of them animated.

A system is a variant of one question of one run. Inputs are the first samples of each dataset that every system has,
in the order of the run: nothing is picked by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError, known
from reports.load import Json, Run, load, text
from reports.samples import files_of, inside

MOST_SYSTEMS = 9  # one digit of the keyboard each


@dataclass(frozen=True)
class System:
    """What is compared: a variant of a run, and how the tables call it."""

    run: str
    question: str
    variant: str
    label: str
    world: str


@dataclass(frozen=True)
class Item:
    """An input that every system animated: its picture, the real clip if there is one, a video per system."""

    dataset: str
    id: str
    prompt: str
    picture: Path
    real: Path | None
    videos: tuple[Path, ...]  # in the order of the systems


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs. UsageError names every folder that is none, that cannot be read, or that holds no samples."""
    wrong, runs = [], []
    for folder in folders:
        try:
            run = load(folder)
        except ValueError as error:
            wrong.append(f"{folder}: {error}")
            continue
        runs.append(run)
        if not run.samples:
            wrong.append(f"{folder} holds no sample videos (samples/index.json): there is nothing to show")
    if wrong:
        raise UsageError(wrong)
    return runs


def systems(runs: Sequence[Run], question: str | None, variants: Sequence[str] | None) -> list[System]:
    """Of each run the variants of `question` (default: its first), or those named; at least 2, at most 9.

    Raises UsageError naming what is unknown and what there is.
    """
    found: list[System] = []
    for run in runs:
        found += _of_run(run, question, variants)
    labels = [system.label for system in found]
    named = [
        System(s.run, s.question, s.variant, f"{s.label} ({s.run})" if labels.count(s.label) > 1 else s.label, s.world)
        for s in found
    ]
    if not 2 <= len(named) <= MOST_SYSTEMS:
        raise UsageError(
            f"study: {len(named)} systems ({', '.join(s.label for s in named)}); allowed: 2 to {MOST_SYSTEMS}. "
            "Name some with --variants"
        )
    if len({system.label for system in named}) < len(named):
        raise UsageError("study: two runs have the same folder name; rename one, so that people can tell them apart")
    return named


def _of_run(run: Run, question: str | None, variants: Sequence[str] | None) -> list[System]:
    records = [r for r in run.records if r.role == "variant"]
    questions = list(dict.fromkeys(r.question for r in records))
    if question is not None and question not in questions:
        raise UsageError(f"{run.name}: no question {question!r}. {known(question, questions)}")
    asked = question or next(iter(questions), "")
    every = dict.fromkeys((r.question, r.variant, r.label, r.world) for r in records)
    pool = [one for one in every if one[0] == asked]
    if variants is None:
        return [System(run.name, *one) for one in pool]
    chosen = []
    for name in variants:
        where = pool if question is not None else [*pool, *every]
        fitting = [one for one in where if one[1] == name]
        if not fitting:
            raise UsageError(f"{run.name}: no variant {name!r}. {known(name, dict.fromkeys(o[1] for o in where))}")
        chosen.append(System(run.name, *fitting[0]))
    return chosen


def items(runs: Sequence[Run], chosen: Sequence[System], per_dataset: int) -> list[Item]:
    """The first `per_dataset` inputs of each dataset that all systems animated. UsageError when there is none."""
    if per_dataset < 1:
        raise UsageError(f"study: --items is {per_dataset}; allowed: 1 or more")
    by_name = {run.name: run for run in runs}
    found: list[Item] = []
    for dataset, name in dict.fromkeys((text(e.get("dataset")), text(e.get("id"))) for e in runs[0].samples):
        item = _item(by_name, chosen, dataset, name)
        if item is not None and sum(one.dataset == dataset for one in found) < per_dataset:
            found.append(item)
    if not found:
        labels = ", ".join(system.label for system in chosen)
        raise UsageError(f"study: no input has a video of every system ({labels}) and a picture; were all sampled?")
    return found


def _item(runs: dict[str, Run], chosen: Sequence[System], dataset: str, name: str) -> Item | None:
    """The input in all runs; None where a video is missing. UsageError when runs started from other pictures."""
    entries = {run.name: _entry(run, dataset, name) for run in runs.values()}
    first = next(iter(runs.values()))
    videos = [_file(runs[s.run], entries[s.run], f"{s.question}.{s.variant}", s.variant) for s in chosen]
    pictures = [_file(run, entries[run.name], "condition") for run in runs.values()]
    if None in videos or None in pictures:
        return None
    if len({hashlib.sha256(path.read_bytes()).hexdigest() for path in pictures if path}) > 1:
        raise UsageError(f"study: {dataset} {name} is another picture in another run; compare runs of the same inputs")
    picture, real = pictures[0], _file(first, entries[first.name], "real")
    assert picture is not None
    prompt = text(entries[first.name].get("prompt"))
    return Item(dataset, name, prompt, picture, real, tuple(video for video in videos if video is not None))


def _entry(run: Run, dataset: str, name: str) -> Json:
    fitting = (e for e in run.samples if (text(e.get("dataset")), text(e.get("id"))) == (dataset, name))
    return next(fitting, {})


def _file(run: Run, entry: Json, *names: str) -> Path | None:
    files = files_of(entry) if entry else {}
    found = (inside(run.folder, files[name]) for name in names if name in files)
    return next((path for path in found if path is not None), None)
