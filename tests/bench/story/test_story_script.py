"""Scripts of stories: what is read, and every error by file and line before any work."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.errors import UsageError
from bench.story.script import read_script

GOOD = """\
title: A walk
shots:
  - {text: a red square moving right, seconds: 2, image: red.png}
  - text: a red square moving up
    seconds: 0.5
    image: last frame of the previous shot
    caption: |
      Up   it goes

      and on
  - {text: "a blue circle: growing", seconds: 1.25, caption: ""}
"""


@pytest.fixture
def script(tmp_path: Path):
    """script(text): its path, beside a picture and below a folder with another."""
    root = tmp_path / "story"
    root.mkdir()
    for path in (root / "red.png", tmp_path / "outside.png"):
        Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(path)
    (root / "broken.png").write_text("no picture")
    (root / "link.png").symlink_to(tmp_path / "outside.png")

    def write(text: str) -> Path:
        (root / "script.yaml").write_text(text, encoding="utf-8")
        return root / "script.yaml"

    return write


def errors(path: Path) -> list[str]:
    with pytest.raises(UsageError) as caught:
        read_script(path)
    return [message.removeprefix(f"{path}") for message in caught.value.messages]


def test_shots_are_read_with_their_defaults(script):
    found = read_script(script(GOOD))
    assert found.title == "A walk" and not found.premise
    assert [(shot.begins, shot.name, shot.frames) for shot in found.shots] == [
        ("picture", "red.png", 16), ("previous", "", 4), ("drawn", "", 10),
    ]  # fmt: skip
    assert [shot.caption for shot in found.shots] == ["a red square moving right", "Up it goes\nand on", ""]
    assert found.shots[2].text == "a blue circle: growing"


def test_a_premise_stands_for_shots(script):
    found = read_script(script("premise: A square goes\n  for a walk\ncount: 2\n"))
    assert (found.premise, found.count, found.shots) == ("A square goes for a walk", 2, ())
    assert read_script(script("premise: A walk\n")).count == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}\n", ":1: one of shots and premise"),
        ("premise: x\nshots:\n- {text: a, seconds: 1}\n", ":1: one of shots and premise"),
        ("shots: []\n", ":1: shots"),
        ("count: 2\nshots:\n- {text: a, seconds: 1}\n", ":1: count is for a premise"),
        ("shots:\n- {text: a, seconds: 1, imgae: red.png}\n", ":2: shots[0]: unknown key 'imgae'.*'image'"),
        ("shots:\n- {text: a, seconds: 0.1}\n", ":2: shots[0].seconds is 0.1"),
        ("shots:\n- {text: a, seconds: 61}\n", ":2: shots[0].seconds is 61"),
        ("shots:\n- {text: '', seconds: 1}\n", ":2: shots[0].text is ''"),
        ("shots:\n- {text: a, seconds: two}\n", ":2: shots[0].seconds is 'two'"),
        ("shots:\n- {seconds: 1}\n", ":2: shots[0].text is missing"),
        ("shots:\n- {text: a, seconds: 1, image: last frame of the previous shot}\n", ":2: .*none before it"),
        ("shots:\n- {text: a, seconds: 1, image: none.png}\n", ":2: .*there is no such file"),
        ("shots:\n- {text: a, seconds: 1, image: broken.png}\n", ":2: .*cannot be read as an image"),
        ("shots:\n- {text: a, seconds: 1, image: ../outside.png}\n", ":2: .*leaves"),
        ("shots:\n- {text: a, seconds: 1, image: /etc/passwd}\n", ":2: .*leaves"),
        ("shots:\n- {text: a, seconds: 1, image: link.png}\n", ":2: .*a link out of"),
        ('shots:\n- {text: "a\\x07b", seconds: 1}\n', r":2: shots\[0\].text: holds '\\x07', a control character"),
        ('shots:\n- {text: a, seconds: 1, caption: "\\u202Eb"}\n', ":2: .*control character"),
        ("shots:\n- !!python/object/apply:os.system [ls]\n", ":2: .*tags are not allowed"),
        ("shots: &a\n- *a\n", ":1: .*anchors"),
    ],
)
def test_what_is_wrong_is_told_by_line(script, text, words):
    import re

    found = errors(script(text))
    pattern = re.escape(words).replace(r"\.\*", ".*") if "\\[" not in words else words
    assert any(re.match(pattern, message) for message in found), found


def test_all_errors_come_at_once(script):
    found = errors(script("titel: x\nshots:\n- {text: a, seconds: 0}\n- {text: b, seconds: 1, image: nowhere.png}\n"))
    assert [message.split(":")[1] for message in found] == ["1", "3", "4"]


def test_lengths_are_bounded(script):
    shot = "- {{text: {}, seconds: {}}}\n"
    assert any("allowed: at most 600" in e for e in errors(script("shots:\n" + shot.format("a", 60) * 11)))
    assert read_script(script("shots:\n" + shot.format("a", 60) * 10)).shots[9].frames == 480
    assert errors(script("shots:\n" + shot.format("a", 1) * 51))
    assert errors(script("shots:\n" + shot.format("a" * 301, 1)))
    assert errors(script("shots:\n- {text: a, seconds: 1, caption: " + "b" * 201 + "}\n"))
