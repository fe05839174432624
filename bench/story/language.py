"""Who writes the shots? A language model of the user's, from a premise of one line; greedy, so always the same ones.

Each line that it writes as `seconds | what happens` is a shot; a line without seconds is one of USUAL seconds. Nothing
it writes is more than the text of a shot: letters that no caption may have are taken out, and lengths are bounded.
"""

from __future__ import annotations

import re

from bench.errors import BenchError, cut
from bench.language import OPTION, LanguageModel
from bench.story.script import MOST_CAPTION, Shot, line, wrong_letters

USUAL = 2.0  # seconds of a shot whose line does not say
LEAST, MOST = 1.0, 10.0  # seconds of a written shot
TOKENS_A_SHOT = 48
ASKED = (
    "Write a story in {count} shots about this: {premise}\n"
    "Answer with {count} lines and nothing else, one for each shot, in this form:\n"
    "seconds | what is to be seen and how it moves\n"
)
WRITTEN = re.compile(r"^\W*(?:\d+[.):]\s+)?(?:(\d+(?:\.\d+)?)\s*(?:s|sec|seconds)?\s*\|)?\s*(.+)$")


def write_shots(model: LanguageModel, premise: str, count: int) -> tuple[Shot, ...]:
    """At most `count` shots, to be drawn from their texts. Raises BenchError when the model wrote none."""
    answer = model.answer(ASKED.format(count=count, premise=premise), TOKENS_A_SHOT * count)
    shots = parse_shots(answer, count)
    if not shots:
        raise BenchError(
            f"{OPTION} {model.folder}: wrote nothing that could be a shot, but {cut(answer)!r}. Write shots: in the "
            "script yourself, or give another model"
        )
    return shots


def parse_shots(answer: str, count: int) -> tuple[Shot, ...]:
    """The shots that an answer describes, at most `count`."""
    found = []
    for written in answer.splitlines():
        match = WRITTEN.match("".join(letter for letter in written if wrong_letters(letter) is None))
        text = _short(line(match[2])) if match else ""
        if any(letter.isalnum() for letter in text):
            assert match is not None
            seconds = min(max(float(match[1]), LEAST), MOST) if match[1] else USUAL
            found.append(Shot(text, seconds, "drawn", text))
    return tuple(found[:count])


def _short(text: str) -> str:
    """At most MOST_CAPTION letters, whole words where there are any."""
    if len(text) <= MOST_CAPTION:
        return text
    return text[: MOST_CAPTION + 1].rpartition(" ")[0] or text[:MOST_CAPTION]
