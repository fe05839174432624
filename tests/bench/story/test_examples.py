"""The examples run from the root of a fresh clone, in less than a minute, and leave what they say."""

import resource
import subprocess
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from bench.story.script import read_script
from examples.pictures import PICTURES, write

ROOT = Path(__file__).parents[3]


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def run(name: str, out: Path) -> str:
    """What an example prints; less than a minute of CPU time in all."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        ["sh", f"examples/{name}.sh", str(out)], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 60
    return done.stdout


def test_the_pictures_are_those_of_the_procedural_world(tmp_path):
    write(tmp_path)
    for name in PICTURES:
        made, kept = np.asarray(Image.open(tmp_path / name)), np.asarray(Image.open(ROOT / "examples" / name))
        np.testing.assert_array_equal(made, kept)
        assert (ROOT / "examples" / name).stat().st_size < 4000


@pytest.mark.slow
def test_the_loop_ends_as_it_begins(tmp_path):
    said = run("loop", tmp_path / "loop.mp4")
    assert "interpolation.safetensors" in said and "comes with the project" in said
    frames = frames_of(tmp_path / "loop.mp4")
    assert len(frames) == 7  # the eighth would be the first again
    seam = abs(frames[-1].astype(float) - frames[0]).mean()
    assert seam < 2 * np.mean([abs(b.astype(float) - a).mean() for a, b in pairwise(frames)])


@pytest.mark.slow
def test_the_interpolation_goes_from_one_picture_to_the_other(tmp_path):
    run("interpolate", tmp_path / "clip.mp4")
    frames = [frame.astype(float) for frame in frames_of(tmp_path / "clip.mp4")]
    ends = [np.asarray(Image.open(ROOT / "examples/pictures" / name).convert("RGB").resize((256, 256), 0), float)
            for name in ("first.png", "last.png")]  # fmt: skip
    near = [abs(frames[0] - ends[0]).mean(), abs(frames[-1] - ends[1]).mean()]
    far = [abs(frames[0] - ends[1]).mean(), abs(frames[-1] - ends[0]).mean()]
    assert near[0] < far[0] and near[1] < far[1] and len(frames) == 8


@pytest.mark.slow
def test_the_story_has_its_shots_and_captions(tmp_path):
    said = run("story", tmp_path / "story")
    assert "cut consistency: " in said and "in 3 clips, each from the last frame of the one before" in said
    assert len(frames_of(tmp_path / "story/story.mp4")) == 44
    assert (tmp_path / "story/story.vtt").read_text().count("-->") == 4


def test_the_script_of_the_story_is_right_and_its_scripts_name_files_that_are_there():
    """The fast part: what the examples name exists."""
    shots = read_script(ROOT / "examples/story/script.yaml").shots
    assert [shot.begins for shot in shots] == ["picture", "previous", "picture", "drawn"]
    for name in ("loop", "interpolate", "story"):
        text = (ROOT / "examples" / f"{name}.sh").read_text()
        named = [word for word in text.split() if word.startswith("examples/") and not word.endswith(".sh")]
        assert named and [word for word in named if not (ROOT / word).is_file()] == []
