"""What is one choice of a protocol, and which choices do all protocols share?

A choice is a value (JSON) with its maker: the authors of what is reproduced, in public, or us. Words say why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Origin = Literal["authors", "ours"]
Profile = Mapping[str, Any]  # a profile as JSON: clip, sampling, evaluation, samples, seeds, ...
Given = Collection[str]  # names of the measuring networks at hand

DIRECT = "shorter side to size, antialiased, then centre crop"


@dataclass(frozen=True)
class Field:
    """One choice: its value (JSON), who made it, and what a reader should know."""

    field: str
    value: Any
    origin: Origin
    words: str


Builder = Callable[[Profile, Given | None], tuple[Field, ...]]  # networks at hand; None: all that are asked for


def ours(field: str, value: Any, words: str) -> Field:
    """A choice of this project: nothing was stated, or we differ."""
    return Field(field, value, "ours", words)


def authors(field: str, value: Any, words: str) -> Field:
    """A choice that the authors of what is reproduced stated in public, in words or in code."""
    return Field(field, value, "authors", words)


def changed(fields: Sequence[Field], *others: Field) -> tuple[Field, ...]:
    """`fields` with those of `others` in the place of their namesakes; new ones at the end."""
    new = {other.field: other for other in others}
    kept = [new.pop(one.field, one) for one in fields]
    return (*kept, *new.values())


def outside_videos(frames: int) -> tuple[Field, ...]:
    """What becomes of videos that were not made here, of another length or rate."""
    return (
        ours("generated_frames", f"the first {frames}", "of a longer video that another system made"),
        ours("generated_short", "set aside", "videos of fewer frames are named and counted; or loop"),
        ours("generated_rate", "as made, not resampled", "frames one after another; the rate is told, never changed"),
    )


def profile_clips(profile: Profile, words: str = "") -> tuple[Field, ...]:
    """Which videos, which frames, and how a clip is sampled, as a profile says it."""
    clip, sampling, sets = profile["clip"], profile["sampling"], profile["evaluation"]
    scales = {"kind": sampling["guidance"], "text_scale": sampling["text_scale"]}
    scales |= {"image_scale": sampling["image_scale"], "rescale": sampling["guidance_rescale"]}

    def each(key: str) -> dict[str, Any]:
        return {name: sets[name][key] for name in ("ucf101", "msrvtt")}

    fields = (
        ours("datasets", ["ucf101", "msrvtt"], "procedural videos in the folder layouts of the two, or the user's own"),
        ours("split", each("split"), "null: all clips"),
        ours("videos", "the first of a seeded order", "stored with the clips"),
        ours("selection_seed", each("seed"), "of that order and of the starts"),
        ours("clips_per_video", 1, "as the authors"),
        ours("frames", clip["frames"], "what the model makes; 16 in the paper"),
        ours("frame_stride", clip["frame_stride"], "as the authors, where it is 3"),
        ours("start", each("start"), "random: drawn from (seed, data set, video id)"),
        ours("too_short", each("too_short"), "named and counted"),
        ours("size", [clip["height"], clip["width"]], "height, width"),
        ours("resize", DIRECT, "as at full size"),
        ours("condition_frame", "first frame of the real clip", "as the authors"),
        ours("reference", "the same videos", "as the authors"),
        ours("prompts", each("caption"), "class_name: in words; first: the first caption"),
        ours("sampler", "ddim", "as at full size"),
        ours("sampler_steps", sampling["steps"], "from the profile"),
        ours("sampler_spacing", sampling["spacing"], spacing_words(sampling["spacing"])),
        ours("sampler_eta", sampling["eta"], "from the profile"),
        ours("guidance", scales, "fixed on the full model, before any ablation was looked at"),
        ours("rate_condition", told_rate(profile), "what the model is told of a clip's speed"),
        ours("noise_seed", "(seed, data set, video id)", "one generator per video: the batch changes nothing"),
        ours("scored_frames", f"all {clip['frames']}, uint8, never compressed", "previews are not scored"),
        *outside_videos(clip["frames"]),
    )
    return tuple(replace(one, words=words) for one in fields) if words else fields


def spacing_words(spacing: str) -> str:
    """What the name of a choice of timesteps means."""
    if spacing.startswith("official_"):
        return "the official step tables, lost remainders included"
    return "which timesteps; exactly as many as asked for"


def told_rate(profile: Profile) -> dict[str, Any]:
    """What the model is told of a clip's speed while it is sampled."""
    kind, told = profile.get("frame_rate", "frame_stride"), profile.get("rate", {}).get("evaluation", "clip")
    own = profile["clip"]["frame_stride"] if kind == "frame_stride" else "floor(source fps / stride)"
    return {"kind": kind, "value": own if told == "clip" else told}
