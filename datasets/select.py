"""Which clips of a data set are used? Drawn from (seed, data set, video id), whatever the order on disk.

Shapes: clips are uint8 (T, H, W, 3). Videos come in a seeded order, so a smaller count is a prefix of a
larger one and either half of a selection is itself a random sample (unlike the sorted list of StyleGAN-V's
protocol, which for UCF-101 holds only the first classes).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from datasets.clip import BadVideo, Catalog, Clip, Frames, Selection, SetAside, Video, choose
from datasets.decode import LIMITS, Cut, Limits, decode_clip
from datasets.draws import digest, generator
from datasets.procedural import class_words
from datasets.transforms import fit_frame

CAPTION_RULES = ("class_name", "first", "random", "none")


@dataclass(frozen=True)
class ClipRule:
    """Everything between a catalog and its clips. Sizes in pixels, `frames` and strides in (source) frames.

    `frame_stride`: several strides mean that each clip draws one. `count`: how many clips, None for all that
    there are. `caption`: the class name in words, the first or a drawn one of a video's captions, or none
    (empty prompts).
    """

    frames: int
    frame_stride: int | tuple[int, ...]
    height: int
    width: int
    start: str = "random"
    too_short: str = "set_aside"
    clips_per_video: int = 1
    count: int | None = None
    seed: int = 0
    caption: str = "first"

    def __post_init__(self) -> None:
        choose("caption", self.caption, CAPTION_RULES)
        _ = self.cut  # checks frames, strides and rules
        count = 1 if self.count is None else self.count
        if min(self.height, self.width, self.clips_per_video, count) < 1:
            raise ValueError(f"every size and count of a clip rule must be 1 or more: {self}")

    @property
    def cut(self) -> Cut:
        """The part that says which frames of a video are taken."""
        strides = (self.frame_stride,) if isinstance(self.frame_stride, int) else tuple(self.frame_stride)
        return Cut(self.frames, strides, self.start, self.too_short)


def ordered(catalog: Catalog, seed: int) -> list[Video]:
    """The videos in their seeded order: by a hash of (seed, data set, id), whatever others there are."""
    return sorted(catalog.videos, key=lambda video: digest(seed, catalog.name, "order", video.id))


def select_clips(catalog: Catalog, rule: ClipRule, limits: Limits = LIMITS) -> Selection:
    """Decodes clips one by one.

    A video that cannot be used is set aside and the next in order takes its place.
    """
    selection = Selection(iter(()), [], list(catalog.notes))
    selection.clips = _clips(catalog, rule, limits, selection)
    return selection


def _clips(catalog: Catalog, rule: ClipRule, limits: Limits, selection: Selection) -> Iterator[Clip]:
    taken = uncaptioned = 0
    for video in ordered(catalog, rule.seed):
        for number in range(rule.clips_per_video):
            if taken == rule.count:
                break
            try:
                clip = draw_clip(catalog, video, number, rule, limits)
            except BadVideo as bad:
                selection.set_aside.append(SetAside(video.id, bad.path, bad.reason))
                break
            taken += 1
            uncaptioned += not clip.prompt
            yield clip
    if rule.count is not None and taken < rule.count:
        selection.notes.append(f"{taken} clips where {rule.count} were asked for")
    if uncaptioned and rule.caption != "none":
        selection.notes.append(f"{uncaptioned} of {taken} clips have no caption: their prompt is empty")


def draw_clip(catalog: Catalog, video: Video, number: int, rule: ClipRule, limits: Limits = LIMITS) -> Clip:
    """Clip `number` of one video, decoded. Raises BadVideo when it cannot be used."""

    def each(frame: Frames) -> Frames:
        return fit_frame(frame, rule.height, rule.width)

    rng = generator(rule.seed, catalog.name, "clip", video.id, number)
    decoded = decode_clip(video.path, rule.cut, rng, each, limits)
    return Clip(
        id=f"{video.id}#{number}" if number else video.id,
        frames=decoded.frames,
        fps=decoded.fps,
        prompt=prompt(catalog, video, number, rule),
        group=video.group,
        label=video.label,
        start=decoded.start,
        frame_stride=decoded.frame_stride,
        notes=decoded.notes,
        video=video.id,
        told=video.told if rule.caption != "none" else {},
    )


def prompt(catalog: Catalog, video: Video, number: int, rule: ClipRule) -> str:
    """The text beside a clip, by the rule; empty where the video has none.

    Raises ValueError for the class name of a video without a class.
    """
    if rule.caption == "class_name":
        if video.label is None:
            raise ValueError(
                f"caption rule 'class_name': video {video.id!r} of {catalog.name} has no class. "
                "Allowed for it: first, random, none."
            )
        return class_words(video.label)
    if rule.caption == "none" or not video.captions:
        return ""
    if rule.caption == "first":
        return video.captions[0]
    rng = generator(rule.seed, catalog.name, "caption", video.id, number)
    return video.captions[int(rng.integers(len(video.captions)))]
