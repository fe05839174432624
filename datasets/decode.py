"""Which frames of a file, exactly? The first video stream, decoded in order, up to the last one needed.

Shapes: frames are uint8 (T, h, w, 3) RGB in the file's own size, as swscale converts them (the colour range
that the file states is honoured), turned upright where the file carries a rotation. Frames are counted as
they decode: variable frame rates are not resampled, and noted. One thread decodes: with more, what a damaged file
shows could differ between runs. Nothing that a header claims is believed before it is compared with the limits.
"""

from __future__ import annotations

import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from datasets.clip import BadVideo, Frames, choose

START_RULES = ("first", "center", "random")
TOO_SHORT_RULES = ("set_aside", "loop", "nearest_stride")
# Containers that only hold media: playlists, which name other files and addresses, are not among them.
CONTAINERS = "avi,mov,matroska,gif,mpeg,mpegvideo,mpegts,asf,flv,ogg"
VARIES = 0.05  # share of the steps between two frames that are not the usual one, above which a rate is variable
LACKING = 0.98  # share of the frames in the header below which frames are lacking (edit lists drop a few)
HELD_BYTES = 2**26  # files up to this size are read once, larger ones twice


@dataclass(frozen=True)
class Limits:
    """What one file may cost before it is refused.

    The time is generous, so that it only ever stops a broken file.
    """

    seconds: float = 120.0
    frames: int = 500_000
    pixels: int = 2**25  # per frame; 8K video has 7680 x 4320 = 0.99 of it
    held: int = 2**32  # bytes of the frames that are kept at once


LIMITS = Limits()


@dataclass(frozen=True)
class Probe:
    """What a file's header states, nothing decoded. `frames` is 0 and `fps` None where it does not say."""

    width: int
    height: int
    fps: float | None
    frames: int
    codec: str
    pixel_format: str


@dataclass(frozen=True)
class Cut:
    """How a clip is cut from a video: `frames` of them, so many source frames apart, from which start on.

    With several `strides` each clip draws one. `start`: first | center | random. `too_short`: what happens to
    a video with fewer frames than needed: set_aside | loop (its frames repeat) | nearest_stride (the largest
    that fits).
    """

    frames: int
    strides: tuple[int, ...] = (1,)
    start: str = "first"
    too_short: str = "set_aside"

    def __post_init__(self) -> None:
        choose("start", self.start, START_RULES)
        choose("too_short", self.too_short, TOO_SHORT_RULES)
        if self.frames < 1 or not self.strides or min(self.strides) < 1:
            raise ValueError(f"frames is {self.frames}, the strides are {self.strides}; allowed: 1 or more")

    @property
    def drawn(self) -> bool:
        """Whether random numbers decide anything."""
        return self.start == "random" or len(self.strides) > 1

    @property
    def needed(self) -> int | None:
        """Source frames that are needed, where the length of the video decides nothing else."""
        fixed = self.start == "first" and len(self.strides) == 1
        return (self.frames - 1) * self.strides[0] + 1 if fixed else None


@dataclass(frozen=True)
class Placement:
    """Where a clip lies: source frames `indices` (T), beginning at `start`, `frame_stride` apart."""

    start: int
    frame_stride: int
    indices: tuple[int, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decoded:
    """T frames of one file, and where in it they lie."""

    frames: Frames  # (T, h, w, 3)
    fps: float | None
    start: int
    frame_stride: int
    notes: tuple[str, ...]


class TooShort(ValueError):
    """The video has fewer frames than the clip needs, and the rule sets it aside."""


def place(cut: Cut, available: int, draws: tuple[float, float]) -> Placement:
    """Places a clip among `available` source frames; `draws` in [0, 1) decide the stride and the start.

    Of several strides one is drawn among those that fit. Raises TooShort under the rule `set_aside` (under
    `nearest_stride` too, when even stride 1 does not fit).
    """
    fitting = [stride for stride in cut.strides if (cut.frames - 1) * stride < available]
    if not fitting:
        return _place_short(cut, available)
    stride = fitting[int(draws[0] * len(fitting))]
    room = available - (cut.frames - 1) * stride  # number of possible starts
    first = {"first": 0, "center": (room - 1) // 2, "random": int(draws[1] * room)}[cut.start]
    return Placement(first, stride, tuple(range(first, first + cut.frames * stride, stride)))


def _place_short(cut: Cut, available: int) -> Placement:
    stride = min(cut.strides)
    needed = (cut.frames - 1) * stride + 1
    if cut.too_short == "loop":
        note = f"looped: {available} source frames, {needed} needed"
        return Placement(0, stride, tuple(i * stride % available for i in range(cut.frames)), (note,))
    if cut.too_short == "nearest_stride" and available >= cut.frames:
        nearest = (available - 1) // (cut.frames - 1)
        note = f"frame stride {nearest} instead of {stride}: {available} source frames, {needed} needed"
        return Placement(0, nearest, tuple(range(0, cut.frames * nearest, nearest)), (note,))
    raise TooShort(f"too short: {_frames(available)}, {needed} needed")


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


class Reader:
    """One opened file: its header, its packets counted or its frames in order, within the limits."""

    def __init__(self, path: Path, container: av.container.InputContainer, limits: Limits) -> None:
        self.path, self.limits, self.container = path, limits, container
        self.deadline = time.monotonic() + limits.seconds
        self.stream = self._first_video_stream()
        self.converter = VideoReformatter()  # one for all frames: setting it up costs more than a small frame
        self.total: int | None = None  # frames in the file, once something has reached its end
        self.decoded = 0  # frames that came out so far
        self.corrupt = 0  # of them, flagged by the decoder
        self.broken = 0  # packets that did not decode, and breaks of the container
        self.odd: dict[str, None] = {}  # what else a reader of the clip should know, in the order it was met
        self.sizes: set[tuple[int, int]] = set()
        self.times: set[int] = set()  # when frames are shown, in ticks of the stream
        self.held: list[av.Packet] | None = None  # the file's packets, once they are counted and small enough
        context = self.stream.codec_context
        self._check_size(context.width, context.height)
        context.thread_count = 1
        context.options = {"max_pixels": str(limits.pixels)}

    def _first_video_stream(self) -> VideoStream:
        streams = [s for s in self.container.streams.video if not _is_cover(s)]
        if not streams:
            raise BadVideo(self.path, "no video stream")
        if streams[0].codec_context is None:
            raise BadVideo(self.path, "its video codec is not known here")
        return streams[0]

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.limits.pixels:
            raise BadVideo(self.path, f"{width}x{height} is larger than {self.limits.pixels} pixels")

    def header(self) -> Probe:
        """Size, rate and number of frames as the file states them."""
        context = self.stream.codec_context
        rate = self.stream.average_rate
        fps = float(rate) if rate else None
        return Probe(
            context.width, context.height, fps, self.stream.frames, context.name, context.pix_fmt or ""
        )

    def _packets(self) -> Iterator[av.Packet]:
        packets = iter(self.container.demux(self.stream)) if self.held is None else iter(self.held)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.ExitError as error:
                raise BadVideo(self.path, f"reading takes more than {self.limits.seconds:g} s") from error
            except av.FFmpegError:  # the rest of the file cannot be read: what came before stands
                self.broken += 1
                return
            if time.monotonic() > self.deadline:
                raise BadVideo(self.path, f"takes more than {self.limits.seconds:g} s")
            yield packet

    def count_packets(self) -> int:
        """How many frames the file holds by its packets; nothing is decoded, so a few may turn out not to.

        Those of a small file are held for `frames`, which otherwise finds the file at its end: open it again.
        """
        count, packets, small = 0, [], self.path.stat().st_size <= HELD_BYTES
        for packet in self._packets():
            count += packet.size > 0
            self._check_count(count)
            if small:
                packets.append(packet)
        self.held = packets if small else None
        self.total = count
        return count

    def _check_count(self, count: int) -> None:
        if count > self.limits.frames:
            raise BadVideo(self.path, f"more than {self.limits.frames} frames")

    def frames(self) -> Iterator[VideoFrame]:
        """Every frame in order; packets that do not decode are counted in `broken` and passed over."""
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.broken += 1
                continue
            for frame in frames:
                if isinstance(frame, VideoFrame):
                    self.decoded += 1
                    self.corrupt += frame.is_corrupt
                    self._check_count(self.decoded)
                    self._check_size(frame.width, frame.height)
                    self._note_oddities(frame)
                    yield frame
        self.total = self.decoded

    def _note_oddities(self, frame: VideoFrame) -> None:
        """What was done to a frame that a plain video does not need."""
        bits = max((part.bits for part in frame.format.components), default=8)
        if bits > 8:
            self.odd[f"{bits} bits a channel, shown with 8"] = None
        if frame.format.name.startswith("gray"):
            self.odd["no colour (grey)"] = None
        if turns := round(frame.rotation / 90) % 4:
            self.odd[f"turned upright by {90 * turns} degrees"] = None
        self.sizes.add((frame.width, frame.height))
        if len(self.sizes) > 1:
            self.odd["its frames change their size"] = None
        if frame.pts is not None:
            self.times.add(frame.pts)

    def rgb(self, frame: VideoFrame) -> Frames:
        """One frame as uint8 (h, w, 3), upright. Raises BadVideo for a pixel format that has no RGB."""
        try:
            picture = np.asarray(self.converter.reformat(frame, format="rgb24").to_ndarray(), dtype=np.uint8)
        except (av.FFmpegError, ValueError) as error:
            raise BadVideo(self.path, f"pixel format {frame.format.name} has no RGB ({error})") from error
        turns = round(frame.rotation / 90) % 4
        return np.rot90(picture, turns) if turns else picture

    def nothing(self) -> str:
        """Why there is no frame, as far as the header tells."""
        known = self.stream.codec_context.width and self.stream.codec_context.height
        return "no frame decodes" + ("" if known else f": it states no size, or more than {self.limits.pixels} pixels")

    def notes(self) -> tuple[str, ...]:
        """What a reader of the frames decoded so far should know: what was wrong, and what was done to them."""
        rate = ("variable frame rate: frames are counted, not resampled in time",) if self._varies() else ()
        return (*self.damage(), *rate, *self.odd)

    def _varies(self) -> bool:
        """Whether frames are shown for different times; a dropped frame now and then, or rounding, is no such rate.

        Times are sorted: AVI files with packed B frames state them out of order.
        """
        times = sorted(self.times)
        steps = Counter(later - sooner for sooner, later in pairwise(times))
        if not steps:
            return False
        usual = steps.most_common(1)[0][0]
        others = sum(count for step, count in steps.items() if not 2 * usual <= 3 * step <= 4.5 * usual)
        return others > VARIES * steps.total()

    def damage(self) -> tuple[str, ...]:
        """What was wrong among the frames decoded so far."""
        found = []
        if self.corrupt:
            found.append(f"flagged corrupt: {self.corrupt} of the {self.decoded} frames decoded")
        if self.broken:
            found.append(f"{self.broken} packets do not decode")
        if self.total is not None and self.total < LACKING * self.stream.frames:
            found.append(f"its header says {self.stream.frames} frames, {self.total} are there")
        return tuple(found)


def _is_cover(stream: VideoStream) -> bool:
    """A still picture attached to the file, which containers also call a video stream."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


@contextmanager
def opened(path: Path, limits: Limits = LIMITS) -> Iterator[Reader]:
    """Opens a local media file.

    Raises BadVideo with the reason when it cannot be read, whatever the reason is.
    """
    _check_file(path)
    try:
        container = av.open(
            str(path.absolute()),
            options={
                "format_whitelist": CONTAINERS,
                "protocol_whitelist": "file",
                "max_pixels": str(4 * limits.pixels),  # while the header is read, before ours
            },
            metadata_errors="replace",
            timeout=limits.seconds,
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadVideo(path, f"cannot be read as video ({reason})") from error
    with container:
        yield Reader(path, container, limits)


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except OSError as error:
        reason = f"cannot be opened ({error.strerror})" if error.strerror else "cannot be opened (no such name)"
        raise BadVideo(path, "missing" if isinstance(error, FileNotFoundError) else reason) from error
    if not stat.S_ISREG(status.st_mode):
        raise BadVideo(path, "not a regular file")  # opening a pipe would wait for ever
    if not status.st_size:
        raise BadVideo(path, "empty file (0 bytes)")


def probe(path: Path, limits: Limits = LIMITS) -> Probe:
    """What the header states. Raises BadVideo."""
    with opened(path, limits) as reader:
        return reader.header()


def decode_all(path: Path, limits: Limits = LIMITS) -> Decoded:
    """Every frame of a file, for short ones: all are held in memory. Raises BadVideo."""
    with opened(path, limits) as reader:
        frames: list[Frames] = []
        held = 0
        for frame in reader.frames():
            frames.append(reader.rgb(frame))
            held = _held(path, held + frames[-1].nbytes, limits)
        if not frames:
            raise BadVideo(path, reader.nothing())
        return Decoded(_stack(path, frames), reader.header().fps, 0, 1, reader.notes())


def decode_clip(
    path: Path,
    cut: Cut,
    rng: np.random.Generator | None = None,
    each: Callable[[Frames], Frames] = np.ascontiguousarray,
    limits: Limits = LIMITS,
) -> Decoded:
    """Decodes one clip; `each` is applied to every frame (h, w, 3), so that only its result is held.

    The number of frames is taken from the packets where a rule needs it, and from the decoder where that
    differs. Raises BadVideo (unreadable, too short, beyond the limits), ValueError for a drawn cut without an
    rng.
    """
    if cut.drawn and rng is None:
        raise ValueError("a random start or one of several frame strides needs an rng")
    draws = (float(rng.random()), float(rng.random())) if rng is not None else (0.0, 0.0)
    available = cut.needed
    for _ in range(4):
        with opened(path, limits) as reader:
            if available is None:
                available = reader.count_packets()
                if reader.held is None:
                    continue
            placement = _place_in(reader, cut, available, draws)
            taken = _take(reader, placement, each, limits)
            if len(taken) == len(set(placement.indices)):
                picture = _stack(path, [taken[i] for i in placement.indices])
                notes = placement.notes + reader.notes()
                return Decoded(picture, reader.header().fps, placement.start, placement.frame_stride, notes)
            available = reader.decoded  # the file ended early: place again among the frames that are there
    raise BadVideo(path, "decodes to another number of frames each time")


def _place_in(reader: Reader, cut: Cut, available: int, draws: tuple[float, float]) -> Placement:
    if not available:
        raise BadVideo(reader.path, reader.nothing())
    try:
        return place(cut, available, draws)
    except TooShort as error:
        raise BadVideo(reader.path, str(error)) from error


def _take(
    reader: Reader, placement: Placement, each: Callable[[Frames], Frames], limits: Limits
) -> dict[int, Frames]:
    wanted, last = set(placement.indices), max(placement.indices)
    taken: dict[int, Frames] = {}
    held = 0
    for index, frame in enumerate(reader.frames()):
        if index in wanted:
            taken[index] = each(reader.rgb(frame))
            held = _held(reader.path, held + taken[index].nbytes, limits)
        if index == last:
            break
    return taken


def _held(path: Path, count: int, limits: Limits) -> int:
    if count > limits.held:
        raise BadVideo(path, f"its frames take more than {limits.held} bytes of memory")
    return count


def _stack(path: Path, frames: list[Frames]) -> Frames:
    sizes = sorted({f"{f.shape[1]}x{f.shape[0]}" for f in frames})
    if len(sizes) > 1:
        raise BadVideo(path, f"the frame size changes within the file ({', '.join(sizes)})")
    return np.stack(frames)
