"""Which steps lead to clips that no model made? The procedural world, the clips of a data set, baselines of real clips.

Pure functions of a profile and of where data comes from: a run's plan and a score of outside videos ask for the same
steps by the same fingerprints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.graph import File, Step
from bench.profile import EvaluationSet, Profile
from bench.sources import SHARDS, Sources, UserData, split_of
from bench.variants import Captions
from datasets.motion_text import DYNAMIC

UNDESCRIBED = 0.5  # share of the tiny world's training captions that tell no motion, for questions about the text
CATALOGS = {"train": "webvid", "ucf101": "ucf101", "msrvtt": "msrvtt"}  # readers of the procedural world's sets


def frame_bytes(profile: Profile) -> int:
    """Of one clip, uncompressed."""
    return profile.clip.frames * profile.clip.height * profile.clip.width * 3


def clip_count(profile: Profile, dataset: str) -> int:
    """Clips that a set will roughly have."""
    if dataset != "train":
        return 2 * profile.samples
    training, world = profile.training, profile.world
    videos = world.train_videos if world else 1000
    return training.count or videos * training.clips_per_video


def world_step(profile: Profile) -> Step:
    """The procedural world; the profile must have one."""
    world = profile.world
    assert world is not None, "callers have seen to it that there is a world"
    videos = world.train_videos + world.msrvtt_videos + 24 * world.ucf101_groups * world.ucf101_clips
    return Step(
        "world", "procedural world", world.model_dump(), {}, {}, videos * profile.costs.world_video, videos * 12e3
    )


def clips_step(profile: Profile, sources: Sources, dataset: str, world: Step | None) -> Step:
    """The clips of a set: the user's where `sources` has it, else the world's, else a named placeholder."""
    own = sources.data.get(dataset)
    config: dict[str, Any] = {
        "dataset": dataset,
        "catalog": own.catalog if own else CATALOGS[dataset],
        "split": split_of(profile, dataset),
        "rule": clip_rule(profile, dataset),
        "content": own.content if own else None,
    }
    local: dict[str, Any] = {"root": str(own.root)} if own else {}
    inputs: dict[str, Step | File] = {}
    if own is None and world is None:
        inputs["data"] = sources.absent_data(dataset)
    elif own is None and world is not None:
        inputs["world"] = world
        config["root"] = dataset
    if config["catalog"] == "folder" and config["rule"]["caption"] == "class_name":
        config["rule"]["caption"] = "first"
    count = clip_count(profile, dataset)
    cost, disk = count * profile.costs.clip, float(count * frame_bytes(profile))
    return Step("clips", f"clips {dataset}", config, inputs, local, cost, disk)


def streamed(sources: Sources) -> UserData | None:
    """The training set, where it is read from a stream: no step decodes or encodes it beforehand."""
    own = sources.data.get("train")
    return own if own is not None and own.catalog == SHARDS else None


def stream_rule(profile: Profile) -> dict[str, Any]:
    """How clips are cut from a stream: one of each video an epoch, as many as there are."""
    return {**clip_rule(profile, "train"), "clips_per_video": 1, "count": None}


def clip_rule(profile: Profile, dataset: str) -> dict[str, Any]:
    """Which frames of which videos: the fields of datasets.select.ClipRule."""
    clip = profile.clip
    size = {"frames": clip.frames, "height": clip.height, "width": clip.width}
    if dataset == "train":
        return {**size, "frame_stride": list(clip.train_strides), **profile.training.model_dump()}
    chosen: EvaluationSet = getattr(profile.evaluation, dataset, EvaluationSet(caption="first"))
    return {
        **size,
        "frame_stride": clip.frame_stride,
        "start": chosen.start,
        "too_short": chosen.too_short,
        "clips_per_video": 1,
        "count": 2 * profile.samples,
        "seed": chosen.seed,
        "caption": chosen.caption,
    }


@dataclass(frozen=True)
class Retelling:
    """What step `captions` is given, its seconds and bytes."""

    config: dict[str, Any]
    cost: float
    disk: float


def captions_of(profile: Profile, sources: Sources, kind: Captions, clip: Mapping[str, Any]) -> Retelling:
    """How a training set is told otherwise (`train.captions` of a variant); `clip`: the text tower's config.

    The tiny world's captions all tell the motion; half of them lose it here, as web captions mostly never had it. A
    user's captions are taken as they are.
    """
    config: dict[str, Any] = {
        "text": "full" if kind == "undescribed" else "motion",
        "least_dynamic": DYNAMIC if kind == "motion_filtered" else None,
        "undescribed": 0.0 if "train" in sources.data or profile.world is None else UNDESCRIBED,
        "seed": 0,
        "clip": dict(clip),
        "micro_batch": profile.batches.encode,
    }
    count = clip_count(profile, "train")
    disk = count * 2.0 * clip["text_length"] * clip["text_width"]
    return Retelling(config, 0.2 + count * profile.costs.encode_clip / 20, disk)


def baseline_step(
    profile: Profile,
    machine: Mapping[str, Any],
    dataset: str,
    name: str,
    clips: Step,
    count: int,
    more: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Step | File] | None = None,
) -> Step:
    """Clips made of real ones; `more` and `inputs` are what "reconstruction" needs beside them."""
    config = {"baseline": name, "count": count, "seed": 0, **(more or {}), "machine": dict(machine)}
    cost = count * (profile.costs.decode_clip if name == "reconstruction" else 0.001)
    disk = float(count * frame_bytes(profile))
    return Step("baseline", f"baseline {name} {dataset}", config, {"clips": clips, **(inputs or {})}, {}, cost, disk)
