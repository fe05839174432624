"""What is asked, of which videos, under which blind names? Systems and inputs -> screens, and the key to them.

Two kinds of question, as in the paper: pick the best of all (motion quality, temporal coherence: a row of percentages
sums to 100), and judge each on its own (input conformity: it need not). Among them stand attention checks, which look
like the others: one real clip among noise, a real clip or noise to be judged. Every clip and screen has a name drawn
from a secret salt; only the key says what is behind it, and the page carries the key's hash.
Source: the user study of arXiv:2310.12190.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.study.choose import Item, System

FORMAT, VERSION = "i2v-bench study key", 1
YES, NO = "yes", "no"


@dataclass(frozen=True)
class Criterion:
    """One question: `kind` is pick (one of all) or judge (yes or no, each alone)."""

    name: str
    kind: str
    label: str
    asked: str
    explained: str


CRITERIA = (
    Criterion(
        "motion_quality",
        "pick",
        "Motion quality",
        "In which video does the motion look best?",
        "Look at what moves: is it lively, natural, and what the sentence says?",
    ),
    Criterion(
        "temporal_coherence",
        "pick",
        "Temporal coherence",
        "Which video stays most coherent over time?",
        "Look for flicker, jumps, and things that change their shape or vanish.",
    ),
    Criterion(
        "input_conformity",
        "judge",
        "Input conformity",
        "Does the video show what the input picture shows?",
        "Same things, same colours, same place: judge this video alone, not against others.",
    ),
)


@dataclass(frozen=True)
class Option:
    """A video of a screen: its blind name, and the system behind it (None: a clip of an attention check)."""

    token: str
    system: int | None


@dataclass(frozen=True)
class Screen:
    """One question to a rater; `right` is the answer of an attention check, else None."""

    id: str
    criterion: str
    item: int
    options: tuple[Option, ...]
    right: str | None = None


@dataclass(frozen=True)
class Key:
    """What turns blind answers into votes; kept from the raters."""

    salt: str
    systems: tuple[System, ...]
    items: tuple[dict[str, str], ...]  # dataset, id, prompt
    screens: tuple[Screen, ...]
    criteria: tuple[Criterion, ...] = CRITERIA
    files: dict[str, str] = field(default_factory=dict)  # blind name -> sha256 of its video on the page

    def to_json(self) -> dict[str, Any]:
        """As key.json holds it."""
        return {"format": FORMAT, "version": VERSION, **json.loads(json.dumps(asdict(self)))}

    @property
    def study(self) -> str:
        """The study's name: the hash of the key. The page and every file of answers carry it."""
        return name_of(self.to_json())


def name_of(key: dict[str, Any]) -> str:
    """sha256 of a key as canonical JSON."""
    canonical = json.dumps(key, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def token(salt: str, *parts: object) -> str:
    """A blind name: nobody without the salt can tell what it stands for, or find it again."""
    message = json.dumps([str(part) for part in parts]).encode("utf-8")
    return hmac.new(salt.encode("utf-8"), message, hashlib.sha256).hexdigest()[:16]


def screens(salt: str, count: int, items: Sequence[Item]) -> tuple[Screen, ...]:
    """Every screen of a study of `count` systems, in an order that tells nothing."""
    made = [*_questions(salt, count, items), *_checks(salt, count, items)]
    return tuple(sorted(made, key=lambda screen: screen.id))


def _questions(salt: str, count: int, items: Sequence[Item]) -> Iterator[Screen]:
    for criterion in CRITERIA:
        for place, _ in enumerate(items):
            options = [Option(clip(salt, place, system), system) for system in range(count)]
            if criterion.kind == "pick":
                yield Screen(token(salt, "screen", criterion.name, place), criterion.name, place, _mixed(options))
                continue
            for option in options:
                name = token(salt, "screen", criterion.name, place, option.system)
                yield Screen(name, criterion.name, place, (option,))


def _checks(salt: str, count: int, items: Sequence[Item]) -> Iterator[Screen]:
    """One for each question to pick, a yes and a no for each to judge; on inputs in turn."""
    for place, criterion in enumerate(CRITERIA):
        item = place % len(items)
        name = token(salt, "check", criterion.name)
        real = Option(check_clip(salt, item, 0), None)
        if criterion.kind == "pick":
            others = [Option(check_clip(salt, item, n), None) for n in range(1, count)]
            yield Screen(name, criterion.name, item, _mixed([real, *others]), real.token)
            continue
        yield Screen(name, criterion.name, item, (real,), YES)
        wrong = Option(check_clip(salt, item, 1), None)
        yield Screen(token(salt, "check", criterion.name, "no"), criterion.name, item, (wrong,), NO)


def _mixed(options: Sequence[Option]) -> tuple[Option, ...]:
    """In the order of their blind names, which is no order of the systems."""
    return tuple(sorted(options, key=lambda option: option.token))


def clip(salt: str, item: int, system: int) -> str:
    """Blind name of a system's video of an input."""
    return token(salt, "clip", item, system)


def check_clip(salt: str, item: int, number: int) -> str:
    """Blind name of a clip of an attention check: 0 is the real one, the others are noise."""
    return token(salt, "check clip", item, number)
