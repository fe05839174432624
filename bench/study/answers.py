"""Which files are answers to this study? Strict reading: what is damaged, foreign, unfinished or there twice is named.

A file of answers is JSON that the page saved: the study's name (the hash of its key), a rater, and one answer per
screen. Nothing in it is trusted: sizes are bounded, every key and value is checked against the key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.study.choose import System
from bench.study.design import FORMAT as KEY_FORMAT
from bench.study.design import NO, VERSION, YES, Criterion, Key, Option, Screen, name_of

FORMAT = "i2v-bench study answers"
LARGEST = 5_000_000  # bytes of one file of answers


@dataclass(frozen=True)
class Answer:
    """What a rater chose on one screen: a blind name, 'yes' or 'no'; where it stood (0 first), after how long."""

    chosen: str
    position: int
    seconds: float


@dataclass(frozen=True)
class Rater:
    """All answers of one rater, by screen."""

    name: str
    file: str
    answers: Mapping[str, Answer]


def read_key(path: Path) -> Key:
    """The key of a study. UsageError for a file that is none, or of another version."""
    data = _json(path, "key")
    if data.get("format") != KEY_FORMAT or data.get("version") != VERSION:
        came = f"{data.get('format')!r} version {data.get('version')!r}"
        raise UsageError(f"{path}: {came}; wanted {KEY_FORMAT!r} version {VERSION}, the key.json of `study make`")
    try:
        key = Key(
            salt=str(data["salt"]),
            systems=tuple(System(**system) for system in data["systems"]),
            items=tuple(dict(item) for item in data["items"]),
            screens=tuple(_screen(screen) for screen in data["screens"]),
            criteria=tuple(Criterion(**criterion) for criterion in data["criteria"]),
            files=dict(data["files"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: the key is damaged: {type(error).__name__} {error}") from None
    if key.study != name_of(data):
        raise UsageError(f"{path}: the key holds something that this version does not know")
    return key


def _screen(data: Mapping[str, Any]) -> Screen:
    return Screen(**{**data, "options": tuple(Option(**option) for option in data["options"])})


def read_answers(paths: Sequence[Path], key: Key) -> list[Rater]:
    """One rater per file; of a folder every .json but the key. UsageError lists each file that is refused, and why."""
    wrong: list[str] = []
    raters: list[Rater] = []
    for path in _files(paths):
        try:
            raters.append(_rater(path, key))
        except UsageError as error:
            wrong += error.messages
    wrong += _twice(raters)
    if wrong:
        raise UsageError([*wrong, "Nothing was tallied: take these files away, or give the key that they belong to"])
    if not raters:
        raise UsageError("study tally: no file of answers given")
    return raters


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found += sorted(p for p in path.glob("*.json") if p.name != "key.json") if path.is_dir() else [path]
    return found


def _rater(path: Path, key: Key) -> Rater:
    data = _json(path, "file of answers")
    if data.get("format") != FORMAT or data.get("version") != VERSION:
        came = f"{data.get('format')!r} version {data.get('version')!r}"
        raise UsageError(f"{path}: {came}; wanted {FORMAT!r} version {VERSION}")
    if data.get("study") != key.study:
        raise UsageError(
            f"{path}: answers to another study ({str(data.get('study'))[:12]}, the key is of {key.study[:12]})"
        )
    name, given = data.get("rater"), data.get("answers")
    if not isinstance(name, str) or not 8 <= len(name) <= 64 or not name.isalnum():
        raise UsageError(f"{path}: rater is {name!r}; allowed: 8 to 64 letters and digits")
    if not isinstance(given, list):
        raise UsageError(f"{path}: answers are {type(given).__name__}; wanted a list")
    answers: dict[str, Answer] = {}
    for place, one in enumerate(given):
        screen, answer = _answer(f"{path}: answer {place + 1}", one, key)
        if screen in answers:
            raise UsageError(f"{path}: screen {screen} is answered twice")
        answers[screen] = answer
    missing = [screen.id for screen in key.screens if screen.id not in answers]
    if missing:
        raise UsageError(f"{path}: {len(missing)} of {len(key.screens)} screens are not answered ({missing[0]}, ...)")
    return Rater(name, path.name, answers)


def _answer(where: str, one: Any, key: Key) -> tuple[str, Answer]:
    """(screen, answer), every value checked against the key."""
    if not isinstance(one, dict) or set(one) != {"screen", "chosen", "position", "seconds"}:
        raise UsageError(f"{where} is {str(one)[:60]!r}; wanted screen, chosen, position and seconds")
    screen = next((s for s in key.screens if s.id == one["screen"]), None)
    if screen is None:
        raise UsageError(f"{where}: there is no screen {str(one['screen'])[:20]!r} in this study")
    kind = next(c.kind for c in key.criteria if c.name == screen.criterion)
    allowed = [option.token for option in screen.options] if kind == "pick" else [YES, NO]
    position, seconds = one["position"], one["seconds"]
    if one["chosen"] not in allowed:
        raise UsageError(f"{where}: chosen is {str(one['chosen'])[:20]!r}; allowed: {', '.join(allowed)}")
    if isinstance(position, bool) or not isinstance(position, int) or not 0 <= position < len(allowed):
        raise UsageError(f"{where}: position is {position!r}; allowed: 0 to {len(allowed) - 1}")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e7:
        raise UsageError(f"{where}: seconds is {seconds!r}; allowed: a number from 0")
    return screen.id, Answer(one["chosen"], position, float(seconds))


def _twice(raters: Sequence[Rater]) -> list[str]:
    """A rater who is there in two files, and a file that is another's under a new name."""
    wrong: list[str] = []
    for place, rater in enumerate(raters):
        for other in raters[:place]:
            if other.name == rater.name:
                wrong.append(f"{rater.file}: the same rater as {other.file} ({rater.name[:12]})")
            elif other.answers == rater.answers:
                wrong.append(f"{rater.file}: the same answers as {other.file}, second for second, under another name")
    return wrong


def _json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object of bounded size. UsageError otherwise."""
    if not path.is_file():
        raise UsageError(f"{path}: there is no such {what}")
    if path.stat().st_size > LARGEST:
        raise UsageError(f"{path}: larger than {LARGEST // 1_000_000} MB, no {what}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise UsageError(f"{path}: not JSON, no {what}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path}: a JSON {type(data).__name__}, no {what}")
    return data
