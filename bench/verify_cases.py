"""What is said of a reference value: that ours is within its bound, or why it is not compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

NEAR, LARGE = 32, 500  # a seed's neighbours; small numbers are mostly sizes
SEED = re.compile(r"(?<![\w.])\d{1,9}(?![\w.])")  # a whole number in a text, not part of a word or a fraction


@dataclass(frozen=True)
class Case:
    """One comparison: the largest absolute difference, and |got - want| / |want|.

    `bound` is on the latter; with `absolute`, on the former. With `share`, the part of all values that differ at all,
    it is on that, and no value may differ by more than 1.
    """

    name: str
    max_abs: float
    rel_l2: float
    bound: float
    absolute: bool = False
    share: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the error is within the bound; never with a NaN."""
        if self.share is not None:
            return self.share <= self.bound and self.max_abs <= 1
        return (self.max_abs if self.absolute else self.rel_l2) <= self.bound


@dataclass(frozen=True)
class Left:
    """A value that is not compared, and why. Values with the same reason are reported in one line."""

    name: str
    why: str


def within(name: str, got: ArrayLike, want: ArrayLike, bound: float) -> Case:
    """`got` against `want`; the bound is on the largest absolute difference. A wrong shape is an infinite error."""
    left, right = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    if left.shape != right.shape:
        return Case(f"{name} (shape {left.shape}, expected {right.shape})", np.inf, np.inf, bound, True)
    difference = np.abs(left - right)
    largest = float(np.max(difference, initial=0.0)) if np.isfinite(difference).all() else np.inf
    rel = float(np.linalg.norm(left - right) / max(float(np.linalg.norm(right)), 1e-30))
    return Case(name, largest, rel, bound, True)


def true(name: str, fact: bool) -> Case:
    """A statement that must hold: an error of 0 or 1, none is allowed."""
    return Case(name, 0.0 if fact else 1.0, 0.0 if fact else 1.0, 0.0, True)


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a number; booleans are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Beside:
    """What lies in the same folder: descriptions of inputs, and where seeds may be named (seldom in the file itself).

    `videos`: {name: {shape, sha256, first8}} of every list of inputs; `features`: {case: parameters of both sets};
    `known`: seeds that files of the folder state; `texts`: what is written beside the files.
    """

    videos: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    features: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=dict)
    known: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds to try: those stated, whole numbers in the texts, and their neighbours (sets count their seeds up)."""
        named = [*self.known, *self._numbers(SEED)]
        near = [seed + step for step in range(-NEAR, NEAR + 1) for seed in named if seed >= LARGE]
        return tuple(dict.fromkeys([*named, *near]))

    def seeds_of(self, kind: str) -> tuple[int, ...]:
        """Numbers that follow `kind(` in the texts."""
        return self._numbers(re.compile(rf"\b{kind}\((\d{{1,9}})"))

    def _numbers(self, pattern: re.Pattern[str]) -> tuple[int, ...]:
        return tuple(dict.fromkeys(int(number) for text in self.texts for number in pattern.findall(text)))


def seeds_in(content: Any) -> set[int]:
    """Seeds that a JSON file states: under a key that ends in `seed`, or as `seed2020` in a key."""
    if isinstance(content, list):
        return {seed for entry in content for seed in seeds_in(entry)}
    if not isinstance(content, Mapping):
        return set()
    found = {int(number) for key in content for number in re.findall(r"seed(\d{1,9})", str(key))}
    for key, value in content.items():
        found |= {value} if str(key).endswith("seed") and isinstance(value, int) and value >= 0 else seeds_in(value)
    return found
