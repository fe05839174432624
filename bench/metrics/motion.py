"""How fast does what a clip shows move, flicker aside?

Frame differences cannot tell: noise and pulsing light change every pixel and move nothing. So optical flow is
estimated between neighbouring frames, and two flows count only in so far as they agree although they share no
frame: what flickers is drawn anew in each frame and averages to nothing in their product, what moves persists.

    magnitude = 100 / diagonal * root of the mean over sites and pairs (t, t + 2), (t, t + 3) of flow_t . flow_s

in per cent of the picture's diagonal per frame: the root mean square speed over all of the picture, still parts
included. Where the mean product is negative the root keeps the sign, so that still, noisy clips scatter about 0
instead of above it. Shapes: frames (T, H, W, 3) uint8; light (T, h, w); pairs of frames P = T - 1; flow (2, P, h,
w), x first, in pixels of the working size: sides are scaled down (never up) until their geometric mean is 64, so
the result does not depend on the resolution that a clip was stored in.
Source: Lucas and Kanade (1981), coarse to fine as in Bouguet (2000), with the prior of Simoncelli, Adelson and
Heeger (1991), "Probability distributions of optical flow": where frames differ by more than motion explains, flow
is pulled to 0. Mean flow of generated clips as a score: EvalCrafter, arXiv:2310.11440 (flow score); VBench,
arXiv:2311.17982 (dynamic degree); both with RAFT.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bench.metrics.statistics import Array

SIDE = 64  # geometric mean of the sides at which flow is sought, in pixels
COARSEST = 16  # a side below this is not halved again
WINDOW = 0.06  # standard deviation of the window that moves as one, of the geometric mean side; 1 pixel at least
BLUR = 0.02  # of the frames, of the same length: derivatives of raw pixels see mostly noise
ROUNDS = 3  # refinements at each scale
DOUBT = 4.0  # weight of what motion leaves unexplained, in 1 / pixel^2
FLAT = 0.01  # of a frame's mean squared gradient: below it there is nothing to follow
APART = (2, 3)  # frames between two flows that are compared; they share none from 2 on
LEAST_FRAMES = min(APART) + 2
LEAST_SIDE = 8


def motion_magnitude(frames: NDArray[np.uint8]) -> float:
    """Root mean square speed of a clip (T, H, W, 3) uint8, per cent of its diagonal per frame.

    0 for a still clip, about 0 (either sign) for a still clip under flicker, noise or pulsing light; a picture that
    glides by a pixel a frame at 64 x 64 has 1.1, and up to 6 pixels a frame are followed (a tenth of the side); what
    is faster is lost. Motion that turns back every two frames counts as flicker.
    Raises ValueError for other shapes, fewer than 4 frames, or sides below 8 pixels.
    """
    return float(motion_magnitudes(frames[None])[0])


def motion_magnitudes(frames: NDArray[np.uint8]) -> Array:
    """`motion_magnitude` of each of (N, T, H, W, 3) clips, (N,): the same numbers as one by one, sooner.

    Memory: about 1 MB a clip of 16 frames at the working size, so give a few dozen at a time.
    """
    if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[-1] != 3:
        raise ValueError(f"motion: clips {frames.shape} {frames.dtype}; wanted (N, T, H, W, 3) uint8")
    clips, length = frames.shape[:2]
    if length < LEAST_FRAMES or min(frames.shape[2:4]) < LEAST_SIDE:
        wanted = f"{LEAST_FRAMES} or more of {LEAST_SIDE} pixels a side"
        raise ValueError(f"motion: {length} frames of {frames.shape[2:4]}; wanted {wanted}")
    if clips == 0:
        return np.zeros(0)
    light = _light(frames.reshape(-1, *frames.shape[2:])).reshape(clips, length, *_working_size(*frames.shape[2:4]))
    pairs = (-1, *light.shape[2:])
    flow = optical_flow(light[:, :-1].reshape(pairs), light[:, 1:].reshape(pairs))
    flow = flow.reshape(2, clips, length - 1, *light.shape[2:])
    lags = [lag for lag in APART if lag < length - 1]
    energies = [np.mean(np.sum(flow[:, :, :-lag] * flow[:, :, lag:], axis=0), axis=(1, 2, 3)) for lag in lags]
    energy = np.mean(energies, axis=0)
    return np.asarray(100.0 * np.sign(energy) * np.abs(energy) ** 0.5 / np.hypot(*light.shape[2:]))


def optical_flow(first: Array, second: Array) -> Array:
    """Where each site of `first` (P, h, w) has gone in `second`: (2, P, h, w), x first, in pixels.

    Both frames are warped half way towards each other, so the estimate has no preferred direction in time.
    """
    flow = _coarser(first, second)
    side = np.sqrt(first[0].size)
    for _ in range(ROUNDS):
        flow = flow - _excess(_shifted(first, -flow / 2), _shifted(second, flow / 2), max(1.0, WINDOW * side))
    return flow


def _coarser(first: Array, second: Array) -> Array:
    """The flow found at half the size, in pixels of this size; 0 where that would be too small to see anything."""
    height, width = first.shape[1:]
    if min(height, width) < COARSEST:
        return np.zeros((2, *first.shape))
    low, narrow = -(-height // 2), -(-width // 2)
    found = optical_flow(_resized(first, low, narrow), _resized(second, low, narrow))
    larger = _between(low, height) @ found @ _between(narrow, width).T
    return np.asarray(larger * np.array([width / narrow, height / low]).reshape(2, 1, 1, 1))


def _excess(first: Array, second: Array, window: float) -> Array:
    """By how much the flow that warped these two (P, h, w) went too far: least squares in a Gaussian window.

    Minimises sum (d + g.v)^2 over the window plus (doubt + flat) |v|^2; d is the difference, g the gradient.
    """

    def around(values: Array) -> Array:
        return np.asarray(ndimage.gaussian_filter(values, (0, window, window), mode="nearest", truncate=3.0))

    d: Array = second - first
    gy, gx = (np.asarray(one) for one in np.gradient((first + second) / 2, axis=(1, 2)))
    xx, xy, yy = around(gx * gx), around(gx * gy), around(gy * gy)
    xd, yd = around(gx * d), around(gy * d)
    flat = FLAT * (xx + yy).mean(axis=(1, 2), keepdims=True) + 1e-9
    prior = DOUBT * around(d * d) + flat
    xx, yy = xx + prior, yy + prior
    return np.asarray(np.stack([yy * xd - xy * yd, xx * yd - xy * xd]) / (xx * yy - xy * xy))


def _shifted(light: Array, flow: Array) -> Array:
    """`light` (P, h, w) read where `flow` points to, bilinear; the edge continues outwards."""
    pairs, height, width = light.shape
    down = np.clip(np.arange(height)[:, None] + flow[1], 0, height - 1)
    right = np.clip(np.arange(width) + flow[0], 0, width - 1)
    top, left = np.minimum(down.astype(np.intp), height - 2), np.minimum(right.astype(np.intp), width - 2)
    corner = (np.arange(pairs)[:, None, None] * height + top) * width + left
    down, right, flat = down - top, right - left, light.ravel()
    above = flat[corner] * (1 - right) + flat[corner + 1] * right
    below = flat[corner + width] * (1 - right) + flat[corner + width + 1] * right
    return np.asarray(above * (1 - down) + below * down)


def _working_size(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, SIDE / np.sqrt(height * width))
    return max(2, round(height * scale)), max(2, round(width * scale))


def _light(frames: NDArray[np.uint8]) -> Array:
    """Luminance (P, h, w) at the working size; mean 0 and variance 1 in each frame, so light may pulse."""
    red, green, blue = (frames[..., channel].astype(np.float64) for channel in range(3))
    small = _resized(0.299 * red + 0.587 * green + 0.114 * blue, *_working_size(*frames.shape[1:3]))
    blur = BLUR * np.sqrt(small[0].size)
    small = ndimage.gaussian_filter(small, (0, blur, blur), mode="nearest")
    centred = small - small.mean(axis=(1, 2), keepdims=True)
    return np.asarray(centred / np.maximum(centred.std(axis=(1, 2), keepdims=True), 1.0))  # 1 level of 255: flat


def _resized(light: Array, height: int, width: int) -> Array:
    """Area averages: (P, H, W) -> (P, height, width), not larger."""
    return np.asarray(_overlap(light.shape[1], height) @ light @ _overlap(light.shape[2], width).T)


def _overlap(old: int, new: int) -> Array:
    """(new, old): the share of each new cell that each old one fills."""
    edges, left = np.linspace(0, old, new + 1), np.arange(old)
    shared = np.minimum(edges[1:, None], left + 1) - np.maximum(edges[:-1, None], left)
    return np.asarray(np.clip(shared, 0.0, None) * (new / old))


def _between(old: int, new: int) -> Array:
    """(new, old): linear interpolation of cell centres, the first and last value held beyond them."""
    places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.asarray(np.maximum(1.0 - np.abs(places[:, None] - np.arange(old)), 0.0))
