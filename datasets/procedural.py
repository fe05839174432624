"""The procedural world: what a scene is, how it is drawn and what is said about it.

A scene is one sprite on a textured ground, moving in one way. A caption names the sprite's colour and shape (scene
words) and what it does (motion words); the ground, the sprite's accent, its size, place and speed are named by no
caption, so that only an image can tell them. Frames are uint8 (T, H, W, 3) at `SOURCE_FPS`; lengths are pixels.
Everything is drawn from a `numpy.random.Generator` and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOURCE_FPS = 24
HEIGHT, WIDTH = 32, 40  # a centre crop of HEIGHT x HEIGHT holds the whole path of the sprite
MAX_FRAMES = 36  # no sprite leaves the crop within this many source frames

SHAPES = ("circle", "square", "triangle", "cross")
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "green": (44, 160, 60),
    "blue": (45, 80, 215),
    "yellow": (236, 205, 50),
    "purple": (150, 60, 180),
    "white": (238, 238, 235),
}
MOTIONS: dict[str, tuple[str, ...]] = {  # class name part -> the ways captions say it, the first is the class's own
    "MovingLeft": ("moving left", "moves to the left", "slides left"),
    "MovingRight": ("moving right", "moves to the right", "slides right"),
    "MovingUp": ("moving up", "moves upwards", "rises up"),
    "MovingDown": ("moving down", "moves downwards", "sinks down"),
    "Growing": ("growing", "is growing larger", "grows"),
    "Shrinking": ("shrinking", "is shrinking smaller", "shrinks"),
}
DIRECTIONS = {"MovingLeft": (-1, 0), "MovingRight": (1, 0), "MovingUp": (0, -1), "MovingDown": (0, 1)}
TEXTURES = ("plain", "stripes", "checks", "dots")
ACCENTS = ("core", "ring", "half")
CLASSES = tuple(shape.capitalize() + motion for shape in SHAPES for motion in MOTIONS)

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    """Everything that decides a video of the procedural world. Lengths in pixels, speeds in pixels per source frame."""

    shape: str
    color_name: str
    motion: str
    color: Color
    accent: str
    accent_color: Color
    texture: str
    ground: Color
    ground_second: Color
    angle: float
    period: float
    phase: float
    x: float  # centre of the sprite in the first frame, from the left edge of the full-width picture
    y: float
    radius: float
    speed: float


def class_name(scene: Scene) -> str:
    """The scene's UCF-101 style class, `CircleMovingLeft`."""
    return scene.shape.capitalize() + scene.motion


def class_words(name: str) -> str:
    """A class name in words: `CircleMovingLeft` -> `circle moving left`."""
    return " ".join(re.findall(r"[A-Z][a-z0-9]*|[a-z0-9]+", name)).lower()


def truth(scene: Scene) -> dict[str, Any]:
    """Every parameter of the scene, ready for JSON."""
    return asdict(scene)


def motion_in(text: str) -> str | None:
    """The motion that a caption or a class name in words asks for; None when it names none of this world."""
    for name, phrases in MOTIONS.items():
        if text.endswith((*phrases, class_words(name))):
            return name
    return None


@cache
def _sentences() -> dict[str, str]:
    """Every sentence that `captions` may write, and every class in words -> its motion."""
    named = [words.format(color=color, shape=shape) for words in SCENE_WORDS for color in COLORS for shape in SHAPES]
    plain = [words.format(shape=shape) for words in PLAIN_WORDS for shape in SHAPES]
    told = {f"{what} {how}": motion for what in named + plain for motion, ways in MOTIONS.items() for how in ways}
    classes = {class_words(shape.capitalize() + motion): motion for shape in SHAPES for motion in MOTIONS}
    return told | classes


def asked_motion(text: str) -> str | None:
    """The motion that a sentence of this world asks for; None for any other text, whatever it ends with."""
    return _sentences().get(text)


def scene_from(told: dict[str, Any]) -> Scene:
    """The scene that `truth` told about (lists of JSON become colours again)."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}
    return Scene(**fields)


def sample_scene(
    rng: np.random.Generator,
    shape: str | None = None,
    motion: str | None = None,
    like: Scene | None = None,
) -> Scene:
    """A random scene; `shape` and `motion` fix those, `like` keeps another scene's whole appearance (its group).

    Raises ValueError for a shape or motion that the world does not have.
    """
    if shape is not None and shape not in SHAPES:
        raise ValueError(f"shape is {shape!r}. Known: {', '.join(SHAPES)}.")
    if motion is not None and motion not in MOTIONS:
        raise ValueError(f"motion is {motion!r}. Known: {', '.join(MOTIONS)}.")
    scene = _appearance(rng, shape) if like is None else like
    if shape is not None:
        scene = replace(scene, shape=shape)
    return _place(replace(scene, motion=motion or str(rng.choice(list(MOTIONS)))), rng)


def _appearance(rng: np.random.Generator, shape: str | None) -> Scene:
    color_name = str(rng.choice(list(COLORS)))
    color = _jitter(COLORS[color_name], rng, 14)
    ground = _far_from([color], rng)
    return Scene(
        shape=shape or str(rng.choice(SHAPES)),
        color_name=color_name,
        motion="",
        color=color,
        accent=str(rng.choice(ACCENTS)),
        accent_color=_far_from([color], rng),
        texture=str(rng.choice(TEXTURES)),
        ground=ground,
        ground_second=_halfway(ground, _far_from([color, ground], rng)),
        angle=float(rng.choice(4)) * np.pi / 4,
        period=float(rng.uniform(10, 18)),
        phase=float(rng.uniform(0, 1)),
        x=0.0,
        y=0.0,
        radius=0.0,
        speed=0.0,
    )


def _jitter(color: Color, rng: np.random.Generator, amount: int) -> Color:
    r, g, b = np.clip(np.array(color) + rng.integers(-amount, amount + 1, 3), 0, 255)
    return int(r), int(g), int(b)


def _halfway(a: Color, b: Color) -> Color:
    """Textures are softer than sprites: what moves is what stands out."""
    return (a[0] + b[0]) // 2, (a[1] + b[1]) // 2, (a[2] + b[2]) // 2


def _far_from(others: list[Color], rng: np.random.Generator) -> Color:
    """A muted colour at least 110 levels (Euclidean) from each of the others."""
    while True:
        color = rng.integers(30, 215, 3)
        if all(np.linalg.norm(color - np.array(other)) > 110 for other in others):
            return int(color[0]), int(color[1]), int(color[2])


def _place(scene: Scene, rng: np.random.Generator) -> Scene:
    """Start, size and speed such that the sprite stays inside the centre crop for MAX_FRAMES source frames."""
    left = (WIDTH - HEIGHT) / 2
    if scene.motion in DIRECTIONS:
        radius, speed = float(rng.uniform(4.2, 5.6)), float(rng.uniform(0.42, 0.58))
        path, room = speed * (MAX_FRAMES - 1), HEIGHT - 2 * radius
        along = radius + rng.uniform(0, max(room - path, 0.0))
        across = radius + rng.uniform(0, room)
        dx, dy = DIRECTIONS[scene.motion]
        x, y = (along, across) if dx else (across, along)
        x, y = (HEIGHT - x if dx < 0 else x), (HEIGHT - y if dy < 0 else y)
    else:
        speed = float(rng.uniform(0.15, 0.22))
        small = float(rng.uniform(2.6, 3.6))
        large = small + speed * (MAX_FRAMES - 1)
        radius = small if scene.motion == "Growing" else large
        x, y = rng.uniform(large, HEIGHT - large, 2) if 2 * large < HEIGHT else (HEIGHT / 2, HEIGHT / 2)
    return replace(scene, x=float(x + left), y=float(y), radius=radius, speed=speed)


def render(scene: Scene, frames: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Draws the first `frames` source frames, uint8 (frames, height, width, 3), edges antialiased.

    Raises ValueError beyond MAX_FRAMES (the sprite would leave the picture).
    """
    if not 1 <= frames <= MAX_FRAMES:
        raise ValueError(f"frames is {frames}; a scene has 1 to {MAX_FRAMES} source frames")
    scale = height / HEIGHT
    rows, columns = np.meshgrid((np.arange(height) + 0.5) / scale, (np.arange(width) + 0.5) / scale, indexing="ij")
    time = np.arange(frames, dtype=np.float64)[:, None, None]
    x, y, radius = _trajectory(scene, time)
    u, v = columns[None] - x, rows[None] - y
    ground = _ground(scene, rows, columns)[None]
    inside = _cover(_distance(scene.shape, u, v, radius), scale)
    accent = _cover(_accent_distance(scene.accent, u, v, radius), scale) * inside
    picture = ground * (1 - inside) + np.array(scene.color, float) * inside
    picture = picture * (1 - accent) + np.array(scene.accent_color, float) * accent
    return np.rint(picture).clip(0, 255).astype(np.uint8)


def _trajectory(scene: Scene, time: NDArray[np.float64]) -> tuple[Any, Any, Any]:
    dx, dy = DIRECTIONS.get(scene.motion, (0, 0))
    growth = {"Growing": 1.0, "Shrinking": -1.0}.get(scene.motion, 0.0)
    moved = scene.speed * time
    return scene.x + dx * moved, scene.y + dy * moved, scene.radius + growth * moved


def _cover(distance: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """How much of a pixel a shape covers, from the signed distance to its edge."""
    return np.clip(0.5 - distance * scale, 0, 1)[..., None]


def _distance(shape: str, u: Any, v: Any, radius: Any) -> NDArray[np.float64]:
    """Signed distance to the sprite's edge, negative inside (exact enough within a pixel of the edge)."""
    if shape == "circle":
        return np.asarray(np.hypot(u, v) - radius)
    if shape == "square":
        return np.asarray(np.maximum(np.abs(u), np.abs(v)) - 0.85 * radius)
    if shape == "triangle":
        sides = (np.abs(u) * 0.894 - (v + radius) * 0.447, v - 0.8 * radius)
        return np.asarray(np.maximum(*sides))
    arm, thin = np.maximum(np.abs(u), np.abs(v)), np.minimum(np.abs(u), np.abs(v))
    return np.asarray(np.maximum(arm - radius, thin - 0.36 * radius))


def _accent_distance(accent: str, u: Any, v: Any, radius: Any) -> NDArray[np.float64]:
    if accent == "core":
        return np.asarray(np.hypot(u, v) - 0.38 * radius)
    if accent == "ring":
        return np.asarray(np.abs(np.hypot(u, v) - 0.62 * radius) - 0.16 * radius)
    return np.asarray(v + 0.0 * radius)  # the upper half


def _ground(scene: Scene, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    first, second = np.array(scene.ground, float), np.array(scene.ground_second, float)
    turned = np.cos(scene.angle) * columns + np.sin(scene.angle) * rows
    other = -np.sin(scene.angle) * columns + np.cos(scene.angle) * rows
    wave = np.sin(2 * np.pi * (turned / scene.period + scene.phase))
    cross = np.sin(2 * np.pi * (other / scene.period + scene.phase))
    amount = {
        "plain": np.zeros_like(rows),
        "stripes": wave * 4,
        "checks": wave * cross * 8,
        "dots": (wave + cross - 1.1) * 4,
    }[scene.texture]
    mix = (np.clip(amount, -1, 1) + 1) / 2 if scene.texture != "plain" else amount
    return first * (1 - mix[..., None]) + second * mix[..., None]


SCENE_WORDS = ("a {color} {shape}", "the {color} {shape}", "{color} {shape}", "there is a {color} {shape}")
PLAIN_WORDS = ("a {shape}", "{shape}", "the {shape}")


def captions(scene: Scene, rng: np.random.Generator, count: int) -> list[str]:
    """`count` captions of the scene: scene words and motion words; a fifth leaves the colour out."""
    lines = []
    for _ in range(count):
        words = PLAIN_WORDS if rng.uniform() < 0.2 else SCENE_WORDS
        what = str(rng.choice(words)).format(color=scene.color_name, shape=scene.shape)
        lines.append(f"{what} {rng.choice(MOTIONS[scene.motion])}")
    return lines
