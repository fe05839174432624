"""Which clips are shown: the first few items of each dataset under every variant, beside the real clip and
its input.

Files: samples/<dataset>/<variant>/<n>.mp4, samples/<dataset>/real/<n>.mp4,
    samples/<dataset>/condition/<n>.png. A folder remembers which artifact it was made from and is left alone
    while that is the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.graph import Step
from bench.previews import Frames, first_clips, write_picture, write_video

if TYPE_CHECKING:
    from bench.assemble import Finished

SOURCE = "source.txt"
SHOWN_BASELINES = ("reconstruction", "text_to_video")


def write_samples(run: Finished) -> list[dict[str, Any]]:
    """Writes what is missing or has changed; returns the index of all samples."""
    return [entry for dataset in run.plan.evaluation for entry in _dataset(run, dataset)]


def _dataset(run: Finished, dataset: str) -> list[dict[str, Any]]:
    evaluation, base = run.plan.evaluation[dataset], run.folder / "samples" / dataset
    count = min(run.plan.profile.previews, run.plan.profile.samples)
    items = (run.read(evaluation.clips, "items.json") or [])[:count]
    made: dict[str, str] = {}
    if items:
        _fill(run, base / "condition", evaluation.clips, len(items), ".png", _picture)
        made["condition"] = ".png"
    for name, step in {"real": evaluation.clips, **shown(run, dataset)}.items():
        if items and run.artifact(step) is not None:
            _fill(run, base / name, step, len(items), ".mp4", write_video)
            made[name] = ".mp4"
    _remove_others(base, made)
    return [
        {
            "dataset": dataset,
            "n": n,
            "id": item["id"],
            "prompt": item.get("prompt") or "",
            "files": {name: f"samples/{dataset}/{name}/{n}{suffix}" for name, suffix in made.items()},
        }
        for n, item in enumerate(items)
    ]


def shown(run: Finished, dataset: str) -> dict[str, Step]:
    """Folder name -> the clips in it: every variant's first seed, and baselines worth looking at.

    A variant of the same name in two questions is one folder when its clips are the same, else the later
    one's folder carries its question's name.
    """
    found: dict[str, Step] = {}
    first = run.plan.profile.seeds[0]
    for (question, variant), built in run.plan.variants.items():
        clips = built.scored[dataset, first].clips
        if found.setdefault(variant, clips) is not clips:
            found[f"{question}.{variant}"] = clips
    made = run.plan.evaluation[dataset].baselines
    return found | {name: made[name].clips for name in SHOWN_BASELINES if name in made}


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


def _remove_others(base: Path, made: dict[str, str]) -> None:
    """Folders of an earlier run of the same name that this run does not have."""
    for folder in base.glob("*"):
        if folder.is_dir() and folder.name not in made and (folder / SOURCE).is_file():
            shutil.rmtree(folder)
