"""What is to be told? A YAML script of shots, each with a picture, a text and a duration; read strictly.

    title: A short walk                            # optional
    shots:
      - {text: a red square moving right, seconds: 2, image: pictures/red.png}
      - {text: a red square moving up, seconds: 1.5, image: last frame of the previous shot}
      - {text: a blue circle growing, seconds: 1, image: drawn, caption: "And then..."}

or, in place of `shots`, a `premise` of one line that a language model writes them from (`count` of them). A picture is
a file beside the script or below it; no path leaves that folder. Durations in seconds, of FPS frames each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from bench.previews import SHOWN_FPS
from bench.strict import Document, Strict, dotted, read, shown, validate
from datasets.files import under_root
from datasets.images import read_picture

FPS = SHOWN_FPS
DRAWN = "drawn"
GOES_ON = "last frame of the previous shot"
MOST_SHOTS = 50
MOST_TEXT, MOST_CAPTION, MOST_PREMISE = 300, 200, 1000  # characters
SHORTEST, LONGEST = 2 / FPS, 60.0  # seconds of a shot
LONGEST_STORY = 600.0
JOINERS = "\u200c\u200d"  # not printable by themselves, but part of words in some scripts

Text = Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]
Caption = Annotated[str, Field(max_length=MOST_CAPTION)]
Seconds = Annotated[float, Field(ge=SHORTEST, le=LONGEST)]


class _Shot(Strict):
    text: Text
    seconds: Seconds
    image: Annotated[str, Field(min_length=1)] = DRAWN
    caption: Caption | None = None


class _File(Strict):
    title: Caption | None = None
    premise: Annotated[str, Field(min_length=1, max_length=MOST_PREMISE)] | None = None
    count: Annotated[int, Field(ge=1, le=MOST_SHOTS)] | None = None
    shots: Annotated[tuple[_Shot, ...] | None, Field(strict=False)] = None


@dataclass(frozen=True)
class Shot:
    """One shot: `text` is the prompt, `caption` what stands under the picture ("" for nothing).

    begins: "picture" (the file `picture`, called `name` in the script), "previous" (with the last frame of the shot
    before) or "drawn" (from the text).
    """

    text: str
    seconds: float
    begins: Literal["picture", "previous", "drawn"]
    caption: str
    picture: Path | None = None
    name: str = ""

    @property
    def frames(self) -> int:
        """How many frames the shot has."""
        return round(self.seconds * FPS)


@dataclass(frozen=True)
class Script:
    """A script that has been checked; without shots it has a premise, and a number of shots to be written."""

    path: Path
    title: str
    shots: tuple[Shot, ...]
    premise: str = ""
    count: int = 0


def read_script(path: Path) -> Script:
    """Reads and checks a script, its pictures too. Raises UsageError with every error in it, by file and line."""
    document = read(path)
    file = validate(document, _File)
    _check_shots(document)
    if file is not None:
        _check_whole(document, file)
    document.raise_errors()
    assert file is not None
    shots = tuple(_shot(path.parent, shot) for shot in file.shots or ())
    return Script(path, line(file.title or ""), shots, line(file.premise or ""), file.count or 3)


def _check_whole(document: Document, file: _File) -> None:
    if (file.shots is None) == (file.premise is None):
        came = "neither came" if file.shots is None else "both came"
        document.add((), f"one of shots and premise (a line from which a language model writes them) is wanted; {came}")
    if file.count is not None and file.premise is None:
        document.add(("count",), "count is for a premise: here the shots are written already")
    length = sum(shot.seconds for shot in file.shots or ())
    if length > LONGEST_STORY:
        document.add(("shots",), f"shots: {length:g} seconds in all; allowed: at most {LONGEST_STORY:g}")


def _check_shots(document: Document) -> None:
    """What the types do not say: pictures, and letters that no caption may have."""
    shots = document.value.get("shots") if isinstance(document.value, dict) else None
    if isinstance(shots, list) and not 1 <= len(shots) <= MOST_SHOTS:
        document.add(("shots",), f"shots: {len(shots)} of them; allowed: 1 to {MOST_SHOTS}")
    for where, key, value in _strings(document.value):
        if words := wrong_letters(value):
            document.add(where, f"{dotted(where)}: {words}")
        elif key == "image" and value == GOES_ON and where[1] == 0:
            document.add(where, f"{dotted(where)}: the first shot has none before it. Allowed: {DRAWN}, or a picture")
        elif key == "image" and value not in (DRAWN, GOES_ON):
            try:
                read_picture(_inside(document.path.parent, value))
            except ValueError as error:
                words = f"{error}. Allowed: a picture below {document.path.parent}, '{DRAWN}', '{GOES_ON}'"
                document.add(where, f"{dotted(where)} is {shown(value)}: {words}")


def _strings(value: Any) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """(place, key, text) of every text that the script may hold."""
    if not isinstance(value, dict):
        return
    for key in ("title", "premise"):
        if isinstance(value.get(key), str):
            yield (key,), key, value[key]
    shots = value.get("shots", [])[:MOST_SHOTS] if isinstance(value.get("shots"), list) else []
    for number, shot in enumerate(shots):
        for key in ("text", "caption", "image"):
            if isinstance(shot, dict) and isinstance(shot.get(key), str):
                yield ("shots", number, key), key, shot[key]


def wrong_letters(text: str) -> str | None:
    """What is wrong with the letters of a text from outside; None where nothing is."""
    bad = [c for c in text if not (c.isprintable() or c in JOINERS or c in "\n\t")]
    return f"holds {bad[0]!r}, a control character; allowed are letters, signs and line breaks" if bad else None


def _inside(root: Path, value: str) -> Path:
    """The file that a script names. Raises ValueError when it is none, or not below the script's folder."""
    path = under_root(root, value, "image")
    real, home = path.resolve(), root.resolve()
    if not real.is_relative_to(home):
        raise ValueError(f"it is a link out of {root}")
    if not path.is_file():
        raise ValueError("there is no such file")
    return path


def _shot(root: Path, shot: _Shot) -> Shot:
    text = line(shot.text)
    caption = text if shot.caption is None else lines(shot.caption)
    if shot.image == DRAWN:
        return Shot(text, shot.seconds, "drawn", caption)
    if shot.image == GOES_ON:
        return Shot(text, shot.seconds, "previous", caption)
    return Shot(text, shot.seconds, "picture", caption, _inside(root, shot.image), shot.image)


def line(text: str) -> str:
    """A text on one line, single spaces between words."""
    return " ".join(text.split())


def lines(text: str) -> str:
    """A text with its line breaks, without empty lines."""
    return "\n".join(kept for kept in map(line, text.splitlines()) if kept)
