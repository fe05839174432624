"""How does a script become a film? Shot by shot: a picture, clips from it, captions; what was done is written down.

A shot that is longer than a clip is several clips, each from the last frame of the one before, which is not shown
twice; a shot may go on from the last frame of the shot before it in the same way. Finished shots are kept: the same
command goes on. The noise of a clip belongs to (seed, shot, clip), so the same script gives the same bytes again.
Shapes: frames uint8 (T, H, W, 3). Source: DynamiCrafter, arXiv:2310.12190, storytelling with shots.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.animate import Request, Target, draw_clip, find_target, model_errors
from bench.animate_models import model_identity, open_pipeline
from bench.devices import find_devices
from bench.errors import BenchError, UsageError
from bench.language import OPTION as LANGUAGE
from bench.language import WHAT as LANGUAGE_WHAT
from bench.language import LanguageModel, check_language_folder
from bench.locks import Busy, Lock
from bench.seeding import generator
from bench.story.captions import open_font
from bench.story.film import film, stored, subtitles
from bench.story.keep import Places, allowed_out, keep, kept, pixels_digest, remove_others, write_text
from bench.story.language import write_shots
from bench.story.painter import OPTION, WHAT, Painter, find_painter
from bench.story.painter import check_folder as check_painter
from bench.story.score import Score, score
from bench.story.script import DRAWN, FPS, GOES_ON, Script, Shot, read_script
from bench.variants import config_to_json
from datasets.clip import Frames
from datasets.images import read_picture
from datasets.transforms import fit_frame
from models.pipeline import Pipeline

VERSION = 1  # of how shots are made: a higher one makes every shot again


@dataclass(frozen=True)
class Telling:
    """What is asked for.

    Args:
        script: a YAML file, as bench/story/script.py has it.
        out: FILE.mp4, or a folder.
        profile, checkpoint, seed, steps, guidance_scale, device, store: as `bench.animate.Request`.
        language_model: folder of a language model, for a premise.
        image_model: folder of a text-to-image pipeline, for drawn shots.
        font: file of the captions' letters; None: Pillow's own.
    """

    script: Path
    out: Path
    profile: str = "tiny"
    checkpoint: Path | None = None
    seed: int = 0
    steps: int | None = None
    guidance_scale: float | None = None
    device: str | None = None
    store: Path | None = None
    language_model: Path | None = None
    image_model: Path | None = None
    font: Path | None = None

    @property
    def request(self) -> Request:
        """As for one picture."""
        return Request(
            image=self.script,
            prompt="",
            out=self.out,
            profile=self.profile,
            checkpoint=self.checkpoint,
            seed=self.seed,
            device=self.device,
            steps=self.steps,
            guidance_scale=self.guidance_scale,
            store=self.store,
        )


@dataclass
class Story:
    """A story at work."""

    telling: Telling
    target: Target
    device: str
    places: Places
    shots: tuple[Shot, ...]
    painter: Painter | None

    @functools.cached_property
    def pipeline(self) -> Pipeline:
        """What animates; opened when the first shot is not there yet."""
        return open_pipeline(self.telling.request, self.target).to(self.device)

    @functools.cached_property
    def model(self) -> dict[str, Any]:
        """All of the model and the machine that decides a frame."""
        execution = self.target.profile.execution
        precision = "float32" if self.device == "cpu" else execution.precision
        return {
            "version": VERSION,
            "weights": model_identity(self.telling.request, self.target),
            "sampler": config_to_json(self.target.sampler),
            "rate": self.target.fs,
            "seed": self.telling.seed,
            "machine": {"device": self.device.partition(":")[0], "threads": execution.threads, "precision": precision},
        }

    @functools.cached_property
    def drawn_by(self) -> dict[str, Any]:
        """Who draws pictures."""
        assert self.painter is not None, "callers have seen to it"
        return dict(self.painter.identity)


def tell(telling: Telling) -> None:
    """Makes the film, its captions and story.json, and prints how each came about.

    Raises:
        UsageError: script or options are wrong, before any work.
        BenchError: another process writes the same story, or a model could not be used.
        ValueError: weights cannot be read, or do not fit.
    """
    script, target = _checked(telling)
    torch.set_num_threads(target.profile.execution.threads)  # they decide the last bits
    device = find_devices(telling.device or target.profile.execution.device)[1][0]
    places = Places.of(telling.out)
    places.shots.mkdir(parents=True, exist_ok=True)
    lock = Lock(places.shots / ".lock")
    try:
        lock.acquire(blocking=False)
    except Busy as held:
        raise BenchError(f"{telling.out}: {held} is writing this story. Wait for it, or give another --out") from None
    try:
        shots, written_by = _written(telling, script, device)
        story = Story(telling, target, device, places, shots, find_painter(target, telling.image_model, device))
        _make(story, script, written_by)
    finally:
        lock.release()


def _checked(telling: Telling) -> tuple[Script, Target]:
    """Everything that can be wrong is said at once."""
    errors = [words for words in (allowed_out(telling.out), _over_script(telling)) if words is not None]
    script, target = None, None
    try:
        script = read_script(telling.script)
    except UsageError as error:
        errors += error.messages
    try:
        target = find_target(telling.request)
        errors += model_errors(telling.request, target)
        errors += _folder_errors(telling, script, target)
        open_font(telling.font, 16)
    except (UsageError, ValueError) as error:
        errors += error.messages if isinstance(error, UsageError) else [str(error)]
    if errors:
        raise UsageError(errors)
    assert script is not None and target is not None
    return script, target


def _over_script(telling: Telling) -> str | None:
    """A script may be called story.json, JSON being YAML; it stays what it is."""
    places = Places.of(telling.out)
    written = [places.video, *map(places.beside, (".srt", ".vtt", ".json"))]
    if telling.script.resolve() not in [path.resolve() for path in written]:
        return None
    return f"--out {telling.out}: {telling.script}, the script itself, would be written over; give another name"


def _folder_errors(telling: Telling, script: Script | None, target: Target) -> Iterator[str]:
    """Models that a script needs and that are not given, or are not what they should be."""
    if telling.language_model is not None and (words := check_language_folder(telling.language_model)):
        yield words
    if telling.image_model is not None and (words := check_painter(telling.image_model)):
        yield words
    if script is None:
        return
    if script.premise and telling.language_model is None:
        yield (
            f"{script.path}: shots are to be written from a premise: give {LANGUAGE} DIR, {LANGUAGE_WHAT}; or write "
            "shots: yourself"
        )
    draws = bool(script.premise) or any(shot.begins == "drawn" for shot in script.shots)
    if draws and telling.image_model is None and find_painter(target, None, "cpu") is None:
        words = f"profile {target.name} has nothing that draws pictures"
        yield f"{script.path}: {words}: give {OPTION} DIR, {WHAT}; or name an image for each shot"


def _written(telling: Telling, script: Script, device: str) -> tuple[tuple[Shot, ...], dict[str, str] | None]:
    """The shots, and who wrote them."""
    if not script.premise:
        return script.shots, None
    assert telling.language_model is not None
    model = LanguageModel.open(telling.language_model, device)
    shots = write_shots(model, script.premise, script.count)
    short = "" if len(shots) == script.count else f" ({script.count} were asked for)"
    print(f"written by {telling.language_model}: {len(shots)} shots{short}")
    return shots, dict(model.identity)


# ---- shots ----


def _make(story: Story, script: Script, written_by: dict[str, str] | None) -> None:
    told: list[dict[str, Any]] = []
    last: Frames | None = None
    for number, shot in enumerate(story.shots, 1):
        frames, about = _shot(story, number, shot, last, told)
        told.append(about)
        last = frames[-1]
    remove_others(story.places.shots, len(story.shots))
    found = score(stored(story.places, story.shots), _towers(story))
    size = (story.target.model.height, story.target.model.width)
    film(story.places, story.shots, size, story.telling.font)
    subtitles(story.places, story.shots)
    whole = {
        "title": script.title,
        "premise": script.premise or None,
        "written_by": written_by,
        "fps": FPS,
        "profile": story.target.name,
        "model": story.model,
        "shots": told,
        "cut_consistency": None if found is None else found.to_json(),
    }
    path = story.places.beside(".json")
    write_text(path, json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    print(_score_words(found))
    print(f"written: {path.name}: texts, seeds, models, hashes")


def _shot(
    story: Story, number: int, shot: Shot, last: Frames | None, before: Sequence[dict[str, Any]]
) -> tuple[Frames, dict[str, Any]]:
    """A shot's frames, and what story.json says of it."""
    begins = _begins(story, number, shot, before)
    asked = {"text": shot.text, "frames": shot.frames, "number": number, "begins": begins, "model": story.model}
    folder, started = story.places.shot(number), time.perf_counter()
    frames = kept(folder, asked)
    was_there = frames is not None
    if frames is None:
        frames = _chained(story, number, shot, _first(story, number, shot, last))
        keep(folder, asked, frames)
    clips = clip_count(shot.frames, story.target.model.frames)
    made = "kept" if was_there else f"{time.perf_counter() - started:.1f} s"
    said = f"{_words(shot)}, {len(frames)} frames{_joined(clips)}"
    print(f"shot {number} of {len(story.shots)}: {said}, {made}", flush=True)
    about = {"number": number, "text": shot.text, "caption": shot.caption, "seconds": shot.seconds, "begins": begins}
    return frames, {**about, "frames": len(frames), "clips": clips, "sha256": pixels_digest(frames)}


def _begins(story: Story, number: int, shot: Shot, before: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the first frame comes from: all that decides it."""
    if shot.begins == "previous":
        return {"from": GOES_ON, "sha256": before[-1]["sha256"]}
    if shot.begins == "drawn":
        return {"from": DRAWN, "by": story.drawn_by, "text": shot.text, "seed": story.telling.seed}
    assert shot.picture is not None
    return {"from": shot.name, "sha256": pixels_digest(read_picture(shot.picture).frame[None])}


def _first(story: Story, number: int, shot: Shot, last: Frames | None) -> Frames:
    """The picture (H, W, 3) that a shot begins with."""
    if shot.begins == "previous":
        assert last is not None, "the script was checked"
        return last
    if shot.begins == "drawn":
        assert story.painter is not None, "the script was checked"
        return story.painter.paint(shot.text, story.telling.seed, number)
    assert shot.picture is not None
    return fit_frame(read_picture(shot.picture).frame, story.target.model.height, story.target.model.width)


def clip_count(frames: int, length: int) -> int:
    """How many clips of `length` frames, each from the last frame of the one before, have so many frames in all."""
    return max(1, -(-(frames - 1) // (length - 1)))


def _chained(story: Story, number: int, shot: Shot, first: Frames) -> Frames:
    """(frames of the shot, H, W, 3): clips one after the other, the frame that two share shown once."""
    made: list[Frames] = []
    for clip in range(clip_count(shot.frames, story.target.model.frames)):
        rng = generator(story.telling.seed, "story", "clip", number, clip)
        begin = made[-1][-1] if made else first
        frames = draw_clip(story.pipeline, story.target, begin, None, shot.text, rng, story.device)
        made.append(frames[1:] if made else frames)
    return np.concatenate(made)[: shot.frames]


def _words(shot: Shot) -> str:
    return {"picture": shot.name, "previous": f"from the {GOES_ON}", "drawn": "drawn from its text"}[shot.begins]


def _joined(clips: int) -> str:
    return "" if clips == 1 else f" in {clips} clips, each from the last frame of the one before"


def _towers(story: Story) -> tuple[Path, Target] | None:
    """Where the image network of the score is: the profile's CLIP, or the one inside the checkpoint."""
    path = story.target.frozen.get("clip") or story.telling.checkpoint
    return None if path is None else (path, story.target)


def _score_words(found: Score | None) -> str:
    if found is None:
        return "cut consistency: not measured, there is no CLIP at hand"
    if not found.cuts:
        return f"cut consistency: one shot, no cut (neighbouring frames: {found.steps:.3f}, {found.network})"
    each = ", ".join(f"{value:.3f}" for value in found.cuts)
    return (
        f"cut consistency: {found.value:.3f} over {len(found.cuts)} cuts ({each}); neighbouring frames inside the "
        f"shots: {found.steps:.3f} ({found.network})"
    )
