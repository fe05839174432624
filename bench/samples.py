"""Which clips are shown: the first few items of each dataset under every variant, beside the real clip and
its input.

Files: samples/<dataset>/<variant>/<n>.mp4, samples/<dataset>/real/<n>.mp4,
    samples/<dataset>/condition/<n>.png. A folder remembers which artifact it was made from and is left alone
    while that is the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import load_file

from bench.graph import Step
from bench.metrics.features import ENDS
from bench.previews import Frames, first_clips, write_picture, write_video
from bench.variants import Settings, as_trained
from datasets.framefile import read_frames

if TYPE_CHECKING:
    from bench.assemble import Finished

SOURCE = "source.txt"
SHOWN_BASELINES = ("reconstruction", "text_to_video")


def write_samples(run: Finished) -> list[dict[str, Any]]:
    """Writes what is missing or has changed; returns the index of all samples."""
    return [entry for dataset in run.plan.evaluation for entry in _dataset(run, dataset)]


def _dataset(run: Finished, dataset: str) -> list[dict[str, Any]]:
    evaluation, base = run.plan.evaluation[dataset], run.folder / "samples" / dataset
    count = min([run.plan.profile.previews, *(extent.samples for extent in run.plan.extents.values())])
    items = (run.read(evaluation.clips, "items.json") or [])[:count]
    made: dict[str, str] = {}
    if items:
        _fill(run, base / "condition", evaluation.clips, len(items), ".png", _picture)
        made["condition"] = ".png"
    absent: dict[str, set[int]] = {}  # of a folder's videos, those that somebody did not make
    for name, step in {"real": evaluation.clips, **shown(run, dataset)}.items():
        if items and run.artifact(step) is not None:
            if step.kind == "collect":
                absent[name] = _fill_by_id(run, base / name, step, [item["id"] for item in items])
            else:
                _fill(run, base / name, step, len(items), ".mp4", write_video)
            made[name] = ".mp4"
    _remove_others(base, made)
    ends = _ends(run, dataset, len(items))
    return [
        {
            "dataset": dataset,
            "n": n,
            "id": item["id"],
            "prompt": item.get("prompt") or "",
            "files": {
                name: f"samples/{dataset}/{name}/{n}{suffix}"
                for name, suffix in made.items()
                if n not in absent.get(name, ())
            },
            **({"ends": {name: {m: rows[n] for m, rows in own.items()} for name, own in ends.items()}} if ends else {}),
        }
        for n, item in enumerate(items)
    ]


def shown(run: Finished, dataset: str) -> dict[str, Step]:
    """Folder name -> the clips in it: every variant's first seed, and baselines worth looking at.

    A variant of the same name in two questions is one folder when its clips are the same (of however many each question
    asked), else the later one's folder carries its question's name. Of variants that change sampling alone only those
    that a claim names are shown: the cells of a grid are many and alike.
    """
    found: dict[str, Step] = {}
    first = run.plan.profile.seeds[0]
    settings = {(q.name, v.name): v.settings for q in run.plan.questions for v in q.variants}
    named = {(q.name, name) for q in run.plan.questions for claim in q.expect for name in claim.order}
    asks = {question for question, _ in named}
    kept: dict[str, tuple[Settings, bool]] = {}
    for (question, variant), built in run.plan.variants.items():
        scored, own = built.scored.get((dataset, first)), settings[question, variant]
        if question in asks and (question, variant) not in named and own != as_trained(own):
            continue
        same = own, run.plan.extents[question].ends
        if kept.setdefault(variant, same) == same and variant in found:
            continue
        if scored is not None and found.setdefault(variant, scored.clips) is not scored.clips:
            found[f"{question}.{variant}"] = scored.clips
    made = run.plan.evaluation[dataset].baselines
    return found | {name: made[name].clips for name in SHOWN_BASELINES if name in made}


def _ends(run: Finished, dataset: str, count: int) -> dict[str, dict[str, list[float]]]:
    """Folder name -> what was measured of the ends of its first clips; only where a variant has a task of its own."""
    every = [one for built in run.plan.variants.values() for (of, _), one in built.scored.items() if of == dataset]
    features = {one.clips.fingerprint: one.features for one in every if "ends" in one.features.config}
    found = {}
    for name, step in shown(run, dataset).items():
        path = run.file(features[step.fingerprint], "features.safetensors") if step.fingerprint in features else None
        if path is not None:
            arrays = load_file(path)
            found[name] = {m: [round(float(v), 4) for v in arrays[m][:count]] for m in ENDS if m in arrays}
    return found


def _picture(path: Path, frames: Frames) -> None:
    write_picture(path, frames[0])


def _fill(
    run: Finished, folder: Path, step: Step, count: int, suffix: str, write: Callable[[Path, Frames], None]
) -> None:
    """Makes the previews of one artifact unless the folder holds them already."""
    source = json.dumps([step.fingerprint, count])
    mark = folder / SOURCE
    if mark.is_file() and mark.read_text() == source:
        return
    artifact = run.artifact(step)
    assert artifact is not None, "called for finished steps only"
    shutil.rmtree(folder, ignore_errors=True)
    for n, frames in enumerate(first_clips(artifact, count)):
        write(folder / f"{n}{suffix}", frames)
    mark.write_text(source)


def _fill_by_id(run: Finished, folder: Path, step: Step, ids: Sequence[str]) -> set[int]:
    """As `_fill`, of somebody's videos, of which some may be missing; returns the places that stay empty."""
    there = {item["id"]: place for place, item in enumerate(run.read(step, "items.json") or [])}
    absent = {n for n, one in enumerate(ids) if one not in there}
    source = json.dumps([step.fingerprint, list(ids)])
    mark = folder / SOURCE
    if mark.is_file() and mark.read_text() == source:
        return absent
    artifact = run.artifact(step)
    assert artifact is not None, "called for finished steps only"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    clips = read_frames(artifact / "frames.safetensors")
    for n, one in enumerate(ids):
        if n not in absent:
            write_video(folder / f"{n}.mp4", clips[there[one]])
    mark.write_text(source)
    return absent


def _remove_others(base: Path, made: dict[str, str]) -> None:
    """Folders of an earlier run of the same name that this run does not have."""
    for folder in base.glob("*"):
        if folder.is_dir() and folder.name not in made and (folder / SOURCE).is_file():
            shutil.rmtree(folder)
