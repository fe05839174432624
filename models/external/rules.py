"""Which clips can a system make, and what of them is the clip that was asked for?

A benchmark asks for T frames of (H, W) pixels at F frames per second. A system makes 4k+1 frames, sizes in steps of
16, or one size only. It is asked for the smallest clip it can make that holds what was asked for, and that is cut out
again: the first T frames (or, where `time` says so, those nearest to the moments asked for), the middle of the picture.
Shapes: sizes are (height, width) in pixels, rates in frames per second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Literal

Size = tuple[int, int]
WhichSize = Literal["asked", "own"]
Time = Literal["as_made", "resampled"]


@dataclass(frozen=True)
class Rules:
    """What a system can make.

    Args:
        own_size: the size that it was trained at.
        own_fps: frames per second of what it makes when it is told none.
        frame_step: it makes frame_step * k + 1 frames, `least` or more.
        size_step: height and width are multiples of it.
        fixed_size: it makes its own size and no other.
        told_rate: it is told how fast its frames follow each other; else it goes its own pace.
        prompt: it is told the text.
    """

    own_size: Size
    own_fps: int
    frame_step: int = 1
    least: int = 1
    size_step: int = 8
    fixed_size: bool = False
    told_rate: bool = False
    prompt: bool = True


@dataclass(frozen=True)
class Sampler:
    """What a benchmark chooses.

    Args:
        steps: denoising steps; None: as many as the system's own default.
        size: "asked" makes the size asked for, "own" the system's, with the picture fitted into it whole.
        time: "as_made" takes frame after frame; "resampled" lets the system go at its own pace and takes the frames
            nearest to the moments asked for.
    """

    steps: int | None = None
    size: WhichSize = "asked"
    time: Time = "as_made"


@dataclass(frozen=True)
class Making:
    """One clip as the system makes it.

    Args:
        frames: how many it makes; `keep` are those that count, in order.
        fps: the rate that it is told, or its own where it is told none.
        size: what it makes; `inner` is the part of it that is the picture, `corner` where that part begins.
    """

    frames: int
    keep: tuple[int, ...]
    fps: int
    size: Size
    inner: Size
    corner: Size

    def to_json(self) -> dict[str, Any]:
        """As an artifact lists it; what is kept is told by its number alone where it is the first frames."""
        plain = self.keep == tuple(range(len(self.keep)))
        return asdict(self) | {"keep": len(self.keep) if plain else list(self.keep)}


def making(rules: Rules, sampler: Sampler, frames: int, fps: float, size: Size) -> Making:
    """How a system makes `frames` frames of `size` at `fps`. Raises ValueError where one of them is 0."""
    if frames < 1 or min(size) < 1 or not 0 < fps < 1000:
        raise ValueError(f"a clip of {frames} frames of {size[0]}x{size[1]} at {fps:g} frames per second: each of "
                         "these must be above 0")  # fmt: skip
    resampled = sampler.time == "resampled"
    rate = max(1, round(fps)) if rules.told_rate and not resampled else rules.own_fps
    keep = tuple(round(k * rate / fps) for k in range(frames)) if resampled else tuple(range(frames))
    made = rules.frame_step * ceil(max(keep[-1], rules.least - 1) / rules.frame_step) + 1
    whole = rules.own_size if rules.fixed_size or sampler.size == "own" else _steps(size, rules.size_step)
    inner = _inside(size, whole) if rules.fixed_size or sampler.size == "own" else size
    corner = ((whole[0] - inner[0]) // 2, (whole[1] - inner[1]) // 2)
    return Making(made, keep, rate, whole, inner, corner)


def _steps(size: Size, step: int) -> Size:
    """The smallest size in steps of `step` that holds `size`."""
    return step * ceil(size[0] / step), step * ceil(size[1] / step)


def _inside(size: Size, whole: Size) -> Size:
    """`size` enlarged or shrunk evenly until it just fits into `whole`."""
    scale = min(whole[0] / size[0], whole[1] / size[1])
    return min(whole[0], round(size[0] * scale)), min(whole[1], round(size[1] * scale))


def told(rules: Rules, sampler: Sampler, ones: Sequence[Making], rates: Sequence[float], size: Size) -> list[str]:
    """What a reader must know of such clips, a sentence each; `rates`: frames per second that each was asked for at."""
    said = [] if rules.prompt else ["the system takes no text: prompts are ignored"]
    asked, made, count = _span(rates), _span([one.frames for one in ones]), len(ones[0].keep)
    if any(one.frames != count for one in ones):
        which = "at the moments asked for" if sampler.time == "resampled" else "that come first"
        said.append(f"the system makes {made} frames: the {count} {which} are scored")
    if sampler.time == "resampled":
        said.append(f"resampled in time: made at {rules.own_fps} frames per second, taken at {asked} (nearest frame)")
    elif rules.told_rate:
        said.append(f"the system is told {_span([one.fps for one in ones])} frames per second; a clip has {asked}")
    else:
        said.append(f"the system is told no rate and goes its own pace (about {rules.own_fps} frames per second; a "
                    f"clip has {asked}): frames are taken as they come")  # fmt: skip
    return [*said, *_of_size(ones[0], size)]


def _span(values: Sequence[float]) -> str:
    """'8' or '3.333 to 8.333'."""
    low, high = (f"{value:.4g}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _of_size(one: Making, size: Size) -> list[str]:
    if one.size == size:
        return [f"made at {_words(size)}"]
    fitted = "" if one.inner == size else f", enlarged or shrunk to {_words(one.inner)}"
    return [f"made at {_words(one.size)}: the picture of {_words(size)}{fitted} is continued by its edges, and each "
            "frame cut back"]  # fmt: skip


def _words(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
