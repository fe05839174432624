"""What stands under the picture, and when? Captions as subtitle files, and drawn into the frames.

A caption is data: in .vtt it is escaped as the format says; .srt knows no escape, so what players take for commands
becomes a look-alike there (`<b>` -> `‹b›`, `{` -> `(`, `-->` -> `-›`). Letters come from Pillow's own font, which has
few beyond ASCII, or from a file of the user's, never from elsewhere. Shapes: frames uint8 (T, H, W, 3); times in s.
Source: WebVTT (W3C); SubRip as players read it.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets.clip import Frames

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
LARGEST, SMALLEST = 1 / 14, 1 / 24  # height of the letters, of the picture's short side
MOST_LINES = 3
SHADE = 0.35  # of the picture's light is left behind the letters
NO_LETTER = "\U0010ffff"  # no font has a shape for it: what it draws is what it draws for every letter it lacks
LOOK_ALIKES = {
    **{"–": "-", "—": "-", "•": "*", "→": "->", "‹": "<", "›": ">", "€": "EUR", "£": "GBP"},
    **{"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d"},
}
VTT = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
SRT = {"<": "‹", ">": "›", "{": "(", "}": ")", "\\": "∖"}


@dataclass(frozen=True)
class Cue:
    """A caption from `start` to `end`."""

    start: float
    end: float
    text: str


def cues(lengths: Sequence[int], captions: Sequence[str], fps: float) -> list[Cue]:
    """The captions of shots of so many frames, one after the other; a shot without a caption has no cue."""
    found, at = [], 0
    for length, caption in zip(lengths, captions, strict=True):
        if caption:
            found.append(Cue(at / fps, (at + length) / fps, caption))
        at += length
    return found


def vtt(found: Sequence[Cue]) -> str:
    """A WebVTT file."""
    blocks = [f"{_time(c.start, '.')} --> {_time(c.end, '.')}\n{_replaced(c.text, VTT)}\n" for c in found]
    return "\n".join(["WEBVTT\n", *blocks])


def srt(found: Sequence[Cue]) -> str:
    """A SubRip file."""
    return "\n".join(
        f"{number}\n{_time(c.start, ',')} --> {_time(c.end, ',')}\n{_replaced(c.text.replace('-->', '->'), SRT)}\n"
        for number, c in enumerate(found, 1)
    )


def _replaced(text: str, letters: dict[str, str]) -> str:
    return "".join(letters.get(letter, letter) for letter in text)


def _time(seconds: float, point: str) -> str:
    whole = round(seconds * 1000)
    return f"{whole // 3600000:02d}:{whole // 60000 % 60:02d}:{whole // 1000 % 60:02d}{point}{whole % 1000:03d}"


# ---- drawn ----


def subtitled(frames: Frames, caption: str, font: Path | None = None) -> Frames:
    """The frames with a caption along their lower edge: as large as fits in MOST_LINES lines, else cut with "…".

    Raises ValueError when `font` is no font.
    """
    if not caption:
        return frames
    caption = spelled(caption, font)
    layer = caption_layer(frames.shape[2], frames.shape[1], caption, font)
    light = np.asarray(layer, dtype=np.float32)[..., None] / 255
    top = int(np.flatnonzero(light.any(axis=(1, 2)))[0]) if light.any() else frames.shape[1]
    made = frames.copy()
    margin = max(1, round(min(frames.shape[1:3]) * SMALLEST / 2))
    top = max(0, top - margin)
    behind = made[:, top:].astype(np.float32) * SHADE
    made[:, top:] = np.rint(behind * (1 - light[top:]) + 255 * light[top:]).astype(np.uint8)
    return made


def caption_layer(width: int, height: int, caption: str, font: Path | None = None) -> Image.Image:
    """The letters alone: white on black, mode L."""
    side = min(width, height)
    sizes = [max(8, round(side * share)) for share in np.linspace(LARGEST, SMALLEST, 4)]
    for size in sizes:
        letters = open_font(font, size)
        rows = wrapped(caption, letters, width - size)
        if len(rows) <= MOST_LINES:
            break
    else:
        rows = [*rows[: MOST_LINES - 1], _cut(" ".join(rows[MOST_LINES - 1 :]), letters, width - size)]
    layer = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(layer)
    step = round(size * 1.25)
    for number, row in enumerate(rows):
        left = (width - letters.getlength(row)) / 2
        draw.text((left, height - step * (len(rows) - number) - size // 4), row, fill=255, font=letters)
    return layer


def wrapped(text: str, letters: Font, width: float) -> list[str]:
    """The text in rows of at most `width` pixels, broken between words, within a word that is wider than that."""
    rows: list[str] = []
    for given in text.split("\n"):
        row = ""
        for word in given.split(" "):
            longer = f"{row} {word}" if row else word
            if letters.getlength(longer) <= width:
                row = longer
                continue
            if row:
                rows.append(row)
            *full, row = _pieces(word, letters, width)
            rows += full
        rows.append(row)
    return rows


def _pieces(word: str, letters: Font, width: float) -> list[str]:
    pieces = [""]
    for letter in word:
        if pieces[-1] and letters.getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def _cut(row: str, letters: Font, width: float) -> str:
    while row and letters.getlength(f"{row}…") > width:
        row = row[:-1]
    return f"{row.rstrip()}…"


@functools.cache
def open_font(path: Path | None, size: int) -> Font:
    """Letters of so many pixels: of a file, or Pillow's own. Raises ValueError naming a file that is no font."""
    if path is None:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
    except (OSError, ValueError) as error:
        raise ValueError(f"--font {path}: no font that can be read ({error})") from None


def missing_letters(captions: Sequence[str], font: Path | None = None) -> list[str]:
    """Letters that the font has no shape for: drawn as `spelled` says, the subtitle files have them as they are."""
    letters = open_font(font, 32)
    found = dict.fromkeys(letter for caption in captions for letter in caption if not letter.isspace())
    return [letter for letter in found if _shape(letter, letters) == _shape(NO_LETTER, letters)]


def spelled(caption: str, font: Path | None = None) -> str:
    """A caption in letters that the font has: a letter without its mark, a look-alike, else "?"."""
    absent = {letter: _nearest(letter, font) for letter in missing_letters([caption], font)}
    return _replaced(caption, absent)


def _nearest(letter: str, font: Path | None) -> str:
    plain = LOOK_ALIKES.get(letter) or "".join(
        one for one in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(one)
    )
    return "?" if not plain or missing_letters([plain], font) else plain


def _shape(letter: str, letters: Font) -> bytes:
    return bytes(letters.getmask(letter))
