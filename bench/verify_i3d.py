"""Do I3D and the ways to preprocess for it compute what public code computed?

Reads golden arrays (npz): `pre/<video>/<pipeline>/...`, `i3d/<video>/<pipeline>/<base|gain>/<network>/...`, and, for
lengths and layers, `T<frames>/...` and `endpoint/<layer>/...`; lists of their inputs (JSON); key lists and the key map
(tab-separated). Weights come from the rule under the names of each layout. Source: `tests/golden/metrics/README.md`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from math import prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.metrics.i3d import EPS, I3D, LAYOUTS, SHORTEST, SIZE, empty_i3d, fill_i3d, key_list
from bench.metrics.preprocess import PIPELINES
from bench.verify_cases import Beside, Case, Left, true, within
from bench.verify_inputs import (
    GAIN,
    SLOWLY,
    Origin,
    Shape,
    find_origin,
    find_seed,
    generator,
    mix,
    noise,
    sha256,
    tri,
    weights,
)

Arrays = Mapping[str, NDArray[Any]]
Answer = Iterator[Case | Left]

PIXEL_BOUND = 1e-4  # of 2: bilinear positions are float32, and a pixel's neighbour may be 2 away
LOGIT_BOUNDS = {"base": 2e-6, "gain": 2e-5}  # README: float32 against float64 is 2e-7 and 1.8e-6
GAINS = {"base": 1.0, "gain": GAIN}
NETWORK = re.compile(r"(piergiaj|hassony2)(?:_eps(\S+))?$")
MANY = 12  # runs of the network; files with more of them count as full-size
PICKED = 4242  # seed of the places that are kept of a preprocessed clip, unless another fits
FIRST_LAYER, FIRST_SHAPE = "Conv3d_1a_7x7", (1, 64, 8, 112, 112)  # of 16 frames
USUAL_VIDEOS = {
    "A_noise_64x64": Origin("noise", 1001),
    "B_tri_96x128": Origin("tri"),
    "C_mix_320x512": Origin("mix", 1003),
    "D_noise_224x224": Origin("noise", 1004),
    "E_tri_224x224": Origin("tri"),
}
LENGTHS = Origin("mix", 1005)  # the clip of which the first T frames are seen, unless another fits


@lru_cache(maxsize=4)
def filled_i3d(layout: str, gain: float = GAIN, eps: float = EPS) -> I3D:
    """I3D in evaluation mode with the rule's weights under the names of a layout."""
    net = empty_i3d(eps)
    fill_i3d(net, weights(key_list(layout), gain=gain), "the weight rule")
    return net


# ---- inputs ----


def check_inputs(entries: list[Mapping[str, Any]], beside: Beside) -> Answer:
    """A list of inputs: hash and first values of each video, and how the pipelines differ on it."""
    for entry in entries:
        name, pipeline = entry.get("video", "?"), entry.get("pipeline")
        if pipeline is None:
            yield from _check_video(name, entry, beside)
        elif pipeline not in PIPELINES:
            yield Left(f"{name}/{pipeline}", "no pipeline of that name")
        else:
            yield from _check_pipeline(name, entry, beside)


def _check_video(name: str, entry: Mapping[str, Any], beside: Beside) -> Answer:
    video = video_of(name, beside)
    yield true(f"{name} sha256", video is not None and sha256(video) == entry.get("sha256", ""))
    if video is not None and "first8" in entry:
        yield within(f"{name} first8", video.reshape(-1)[: len(entry["first8"])], entry["first8"], 0.0)


def _check_pipeline(name: str, entry: Mapping[str, Any], beside: Beside) -> Answer:
    video, pipeline, other = video_of(name, beside), entry["pipeline"], entry.get("identical_to")
    if video is None:
        yield true(f"{name}/{pipeline}: its video is described", False)
        return
    got = PIPELINES[pipeline](torch.from_numpy(video), SIZE)
    if other in PIPELINES:
        same = PIPELINES[other](torch.from_numpy(video), SIZE)
        yield within(f"{name}/{pipeline} identical_to {other}", (got - same).abs().max(), 0.0, 1e-6)
    prefix = "max_abs_diff_to_"
    for key in (k for k in entry if k.startswith(prefix) and k.removeprefix(prefix) in PIPELINES):
        reference = PIPELINES[key.removeprefix(prefix)](torch.from_numpy(video), SIZE)
        yield within(f"{name}/{pipeline} {key}", (got - reference).abs().max(), entry[key], PIXEL_BOUND)


@lru_cache(maxsize=64)
def _origin(shape: Shape, digest: str, start: tuple[int, ...], likely: tuple[int, ...]) -> Origin | None:
    return find_origin(shape, digest, start, likely)


def origin_of(name: str, beside: Beside) -> Origin | None:
    """How the video of that name is made, by its description in the folder; None when nothing fits it."""
    entry = beside.videos.get(name)
    if entry is None or "sha256" not in entry or "shape" not in entry:
        return None
    return _origin(tuple(entry["shape"][:4]), entry["sha256"], tuple(entry.get("first8", ())), beside.seeds)


def video_of(name: str, beside: Beside) -> NDArray[np.uint8] | None:
    """The video (B, T, H, W, 3) of that name; None when nothing fits its description.

    One of the usual names needs none: two clips of 16 frames, of the size in its name.
    """
    if name not in beside.videos and name in USUAL_VIDEOS:
        height, width = map(int, name.rsplit("_", 1)[1].split("x"))
        return USUAL_VIDEOS[name].make((2, 16, height, width))
    origin = origin_of(name, beside)
    return None if origin is None else origin.make(tuple(beside.videos[name]["shape"][:4]))


def with_seeds_of_videos(beside: Beside) -> Beside:
    """The same, knowing the seeds of the described videos too."""
    found = (origin_of(name, beside) for name, entry in beside.videos.items() if entry.get("first8"))
    seeds = {origin.seed for origin in found if origin is not None and origin.kind != "tri"}
    return replace(beside, known=tuple(sorted({*beside.known, *seeds})))


# ---- arrays: preprocessing and network ----


def count_runs(names: frozenset[str]) -> int:
    """How often a file of arrays takes the network to be run."""
    return len({name.rsplit("/", 1)[0] for name in names if name.startswith("i3d/")}) + sum(
        1 for name in names if re.match(r"T\d+/", name)
    )


def check_arrays(arrays: Arrays, beside: Beside) -> Answer:
    """`pre/` and `i3d/`: video by video, pipeline by pipeline, so that each is made once."""
    known = [name for name in arrays if name.startswith(("pre/", "i3d/")) and name.count("/") >= 3]
    for name in arrays.keys() - set(known):
        yield Left(name, "no array of that name is understood")
    for place, names in groupby(sorted(known, key=_place), key=_place):
        yield from _check_place(place, list(names), arrays, beside)


def _place(name: str) -> tuple[str, str]:
    """Video and pipeline of an array."""
    _, video, pipeline, _ = name.split("/", 3)
    return video, pipeline


def _check_place(place: tuple[str, str], names: list[str], arrays: Arrays, beside: Beside) -> Answer:
    video_name, pipeline = place
    video = video_of(video_name, beside)
    if pipeline not in PIPELINES:
        yield Left("/".join(place), "no pipeline of that name")
    elif video is None:
        yield true(f"{video_name}: some input of the rules has the described hash", False)
    else:
        clips = PIPELINES[pipeline](torch.from_numpy(video), SIZE)
        yield from _check_pixels(clips, [n for n in names if n.startswith("pre/")], arrays, beside)
        yield from _check_networks(clips, [n for n in names if n.startswith("i3d/")], arrays)


def _check_pixels(clips: Tensor, names: list[str], arrays: Arrays, beside: Beside) -> Answer:
    flat = clips.numpy().reshape(-1)
    for name in names:
        want, what = arrays[name], name.rsplit("/", 1)[1]
        corner = re.fullmatch(r"clip(\d+)_t(\d+)_every(\d+)", what)
        if what.startswith("samples"):
            yield within(name, _picked(flat, want, beside), want, PIXEL_BOUND)
        elif corner is not None:
            clip, frame, step = map(int, corner.groups())
            yield within(name, clips[clip, :, frame, ::step, ::step], want, PIXEL_BOUND)
        elif what == "stats_mean_std_min_max":
            wide = flat.astype(np.float64)
            yield within(name, [wide.mean(), wide.std(), wide.min(), wide.max()], want, PIXEL_BOUND)
        else:
            yield Left(name, "no array of that name is understood")


def _picked(flat: NDArray[Any], want: NDArray[Any], beside: Beside) -> NDArray[Any]:
    """The places of `flat` that a file keeps, drawn with a seed that the first of them tells."""

    def places(seed: int) -> NDArray[np.int64]:
        return generator(seed).integers(0, len(flat), len(want))

    def fits(seed: int) -> bool:
        some = places(seed)[:4]
        return bool(np.abs(flat[some] - want[:4]).max() <= PIXEL_BOUND)

    seed = find_seed(fits, (PICKED, *beside.seeds))
    return flat[places(PICKED if seed is None else seed)]


@torch.no_grad()
def _check_networks(clips: Tensor, names: list[str], arrays: Arrays) -> Answer:
    def place(name: str) -> str:
        return name.rsplit("/", 1)[0]

    for run, same in groupby(sorted(names), key=place):
        tag, network = run.split("/")[-2:]
        match = NETWORK.match(network)
        if tag not in GAINS or match is None:
            yield Left(run, "no weights or network of that name")
            continue
        net = filled_i3d(match[1], GAINS[tag], EPS if match[2] is None else float(match[2]))
        features = net.features(clips)
        answers = answers_of(net, features)
        for name in same:
            what = name.rsplit("/", 1)[1]
            if what not in answers:
                yield Left(name, "no array of that name is understood")
            else:
                yield within(name, answers[what](), arrays[name], LOGIT_BOUNDS[tag])


def answers_of(net: I3D, features: Tensor) -> dict[str, Callable[[], Tensor]]:
    """What public code calls the outputs of I3D."""
    logits = net.logits_of(features)
    return {
        "features": lambda: features,
        "logits_time": lambda: logits,
        "logits": lambda: logits.mean(2),
        "softmax": lambda: logits.mean(2).softmax(1),
    }


# ---- lengths and layers ----


@torch.no_grad()
def check_lengths(arrays: Arrays, beside: Beside) -> Answer:
    """One clip cut to several lengths, and each layer of the network on 16 of its frames."""
    longest = max([16, *(int(m[1]) for name in arrays if (m := re.match(r"T(\d+)/", name)))])
    video = _long_clip(arrays, longest, beside)
    net = filled_i3d("piergiaj")
    if any(name.startswith("endpoint/") for name in arrays):
        yield from _check_layers(net, video[:, :, :16], arrays)
    for name in sorted(arrays):
        match = re.match(r"T(\d+)/(\w+)$", name)
        if match is not None:
            yield from _check_length(name, int(match[1]), match[2], video, arrays)
        elif re.match(r"\d+x\d+/", name):
            yield Left(name, "of another size public networks give a map; ours refuses (see the list of refusals)")
        elif not name.startswith("endpoint/"):
            yield Left(name, "no array of that name is understood")


def _check_length(name: str, frames: int, what: str, video: Tensor, arrays: Arrays) -> Answer:
    shown = {"piergiaj_logits_time": ("piergiaj", False), "logits_mean": ("piergiaj", True)}
    shown["hassony2_mapped_logits"] = ("piergiaj", True)  # the same weights, renamed
    if what not in shown or frames < SHORTEST:
        yield Left(name, "no array of that name is understood")
        return
    layout, averaged = shown[what]
    logits = filled_i3d(layout).logits(video[:, :, :frames])
    yield within(name, logits.mean(2) if averaged else logits, arrays[name], LOGIT_BOUNDS["gain"])


def _check_layers(net: I3D, clip: Tensor, arrays: Arrays) -> Answer:
    seen = set()
    for layer, output in net.endpoints(clip):
        prefix, flat = f"endpoint/{layer}/", output.double().flatten()
        for name in sorted(n for n in arrays if n.startswith(prefix)):
            seen.add(name)
            what, want = name.removeprefix(prefix), arrays[name]
            if what.startswith("samples"):
                places = generator(zlib.crc32(layer.encode())).integers(0, len(flat), len(want))
                yield within(name, flat[places], want, LOGIT_BOUNDS["gain"])
            elif what == "shape":
                yield within(name, list(output.shape), want, 0.0)
            elif what == "mean_std":
                yield within(name, [float(flat.mean()), float(flat.std())], want, LOGIT_BOUNDS["gain"])
            else:
                yield Left(name, "no array of that name is understood")
    for name in (n for n in arrays if n.startswith("endpoint/") and n not in seen):
        yield Left(name, "no layer of that name")


def _long_clip(arrays: Arrays, frames: int, beside: Beside) -> Tensor:
    """The clip (1, 3, T, 224, 224), from the seed that fits the first layer; the usual one when none does."""
    shape = (1, frames, SIZE, SIZE)
    want = arrays.get(f"endpoint/{FIRST_LAYER}/samples64", np.zeros(0))
    places = generator(zlib.crc32(FIRST_LAYER.encode())).integers(0, prod(FIRST_SHAPE), len(want))
    few = sorted(zip(places.tolist(), want.tolist(), strict=True), key=lambda p: _time_of(p[0]))[:3]
    needed = min(frames, 2 * max((_time_of(place) for place, _ in few), default=0) + 5)  # frames that these see
    waves = tri((1, needed, SIZE, SIZE)).astype(np.uint16)

    def fits(seed: int) -> bool:
        start = ((waves + noise(seed, (1, needed, SIZE, SIZE))) // 2).astype(np.uint8)
        return all(abs(_first_layer(start, place) - value) <= LOGIT_BOUNDS["gain"] for place, value in few)

    seed = find_seed(fits, (LENGTHS.seed, *beside.seeds), SLOWLY) if few else None
    return _network_input(mix(LENGTHS.seed if seed is None else seed, shape))


def _time_of(place: int) -> int:
    """Time step of a place in the first layer's flattened output."""
    return int(np.unravel_index(place, FIRST_SHAPE)[2])


def _first_layer(video: NDArray[np.uint8], place: int) -> float:
    """One value of the first layer's output: all that it sees of the video are 7x7x7 pixels."""
    _, channel, t, y, x = (int(i) for i in np.unravel_index(place, FIRST_SHAPE))
    t0, y0, x0 = 2 * t - 2, 2 * y - 2, 2 * x - 2  # 'SAME' on even sizes pads 2 before, 3 behind
    seen = video[0, max(t0, 0) : t0 + 7, max(y0, 0) : y0 + 7, max(x0, 0) : x0 + 7]
    values = _network_input(seen[None])[0]
    before = (max(-x0, 0), max(-y0, 0), max(-t0, 0))
    room = [7 - before[i] - values.shape[3 - i] for i in range(3)]
    padded = F.pad(values, [before[0], room[0], before[1], room[1], before[2], room[2]])
    unit = filled_i3d("piergiaj").get_submodule(f"trunk.{FIRST_LAYER}")
    summed = (unit.conv3d.weight[channel] * padded).sum()  # type: ignore[union-attr, index]
    return float(F.relu(unit.bn(summed.expand(1, 64, 1, 1, 1)))[0, channel, 0, 0, 0])  # type: ignore[operator]


def _network_input(video: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(video).permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0


def is_length_list(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object says what comes of clips of several lengths and sizes."""
    return all(re.fullmatch(r"T\d+|\d+x\d+/\w+", key) for key in content)


def check_refusals(content: Mapping[str, Any]) -> Answer:
    """The list beside the lengths: which sizes fail, how many time steps come out, how near both layouts are."""
    for key, entry in content.items():
        length, size = re.fullmatch(r"T(\d+)", key), re.fullmatch(r"(\d+)x(\d+)/\w+", key)
        if size is not None and (int(size[1]), int(size[2])) != (SIZE, SIZE):
            yield true(f"{key} is refused", _refused(16, int(size[1]), int(size[2])))
        elif length is not None and isinstance(entry, str):
            yield true(f"{key} is refused", _refused(int(length[1]), SIZE, SIZE))
        elif length is not None and isinstance(entry, Mapping):
            if "time_steps_out" in entry:
                yield within(f"{key} time_steps_out", _output_shape(int(length[1]))[2], entry["time_steps_out"], 0.0)
            if "max_abs_diff_layouts" in entry:
                yield Left(f"{key} max_abs_diff_layouts", "here both layouts are one network")
        else:
            yield Left(key, "no entry of that name is understood")


def _refused(frames: int, height: int, width: int) -> bool:
    """Whether the network refuses clips of that size."""
    try:
        _output_shape(frames, height, width)
    except ValueError:
        return True
    return False


def _output_shape(frames: int, height: int = SIZE, width: int = SIZE) -> Shape:
    """Shape of the logits of one clip; nothing is computed. Raises ValueError for sizes that the network refuses."""
    with torch.device("meta"):
        return tuple(I3D().eval().logits(torch.empty(1, 3, frames, height, width)).shape)


# ---- names ----


def check_keys(rows: list[list[str]]) -> Answer:
    """A key list `name dtype shape` of either layout: as many entries, of the same names and shapes as ours."""
    found = {row[0]: tuple(int(n) for n in row[2].split("x") if n.isdigit()) for row in rows}
    layout = max(LAYOUTS, key=lambda one: len(key_list(one).keys() & found.keys()))
    wanted = key_list(layout)
    wrong = sum(found.get(name) != shape for name, shape in wanted.items()) + len(found.keys() - wanted.keys())
    yield within(f"{layout} {len(found)} entries", wrong, 0.0, 0.0)


def check_key_map(rows: list[list[str]]) -> Answer:
    """The map of names from one layout to the other."""
    ours = dict(zip(*(key_list(layout) for layout in LAYOUTS), strict=True))
    found = {row[0]: row[1] for row in rows}
    wrong = sum(found.get(name) != other for name, other in ours.items()) + len(found.keys() - ours.keys())
    yield within(f"{LAYOUTS[0]} to {LAYOUTS[1]}, {len(found)} names", wrong, 0.0, 0.0)
