"""A story from its script: what lies there afterwards, that it is the same again, and that finished shots are kept."""

import hashlib
import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from bench.cli import main
from bench.story.keep import kept
from bench.story.tell import clip_count

SCRIPT = """\
title: Two of them
shots:
  - {text: a red square moving right, seconds: 1.25, image: red.png, caption: "Off <b>it</b> goes"}
  - {text: a red square moving up, seconds: 0.5, image: last frame of the previous shot}
  - {text: a yellow circle growing, seconds: 0.5, caption: ""}
"""


def write_script(folder: Path, text: str = SCRIPT) -> Path:
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.full((40, 48, 3), (214, 40, 40), np.uint8)).save(folder / "red.png")
    (folder / "script.yaml").write_text(text)
    return folder / "script.yaml"


def tell(script: Path, out: Path, *more: str) -> int:
    return main(["story", str(script), "--out", str(out), "--steps", "1", "--device", "cpu", *more])


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A story in a folder, and its script beside it."""
    root = tmp_path_factory.mktemp("story")
    assert tell(write_script(root / "script"), root / "out") == 0
    return root


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def about(folder: Path) -> dict:
    return json.loads((folder / "story.json").read_text())


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_film_frames_captions_and_what_was_done_are_there(told):
    out = told / "out"
    with av.open(str(out / "story.mp4")) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.codec_context.name, float(stream.average_rate)) == ("h264", 8.0)
    assert len(frames) == 10 + 4 + 4 and frames[0].shape == (256, 256, 3)
    assert [len(list((out / "shots" / n).glob("*.png"))) for n in ("001", "002", "003")] == [10, 4, 4]
    assert pixels(out / "shots/001/000.png").shape == (32, 32, 3)
    assert (out / "story.vtt").read_text() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.250\nOff &lt;b&gt;it&lt;/b&gt; goes\n\n"
        "00:00:01.250 --> 00:00:01.750\na red square moving up\n"
    )
    lossless = np.repeat(np.repeat(pixels(out / "shots/001/000.png"), 8, axis=0), 8, axis=1).astype(int)
    assert abs(frames[0][:200] - lossless[:200]).mean() < 6  # the film shows the shot, h264 apart
    assert abs(frames[0][226:] - lossless[226:]).mean() > 20  # with letters under it


def test_what_was_done_is_told(told):
    said = about(told / "out")
    assert [shot["begins"]["from"] for shot in said["shots"]] == [
        "red.png", "last frame of the previous shot", "drawn",
    ]  # fmt: skip
    assert [(shot["frames"], shot["clips"]) for shot in said["shots"]] == [(10, 2), (4, 1), (4, 1)]
    weights = {name: hashlib.sha256(Path(f"weights/tiny/{name}.safetensors").read_bytes()).hexdigest()
               for name in ("t2v", "animation", "vae", "clip")}  # fmt: skip
    assert said["model"]["weights"] == weights
    assert said["model"]["sampler"]["steps"] == 1 and said["model"]["seed"] == 0
    assert said["shots"][2]["begins"]["by"]["sha256"]["t2i"]
    score = said["cut_consistency"]
    assert score["network"] == "tiny-clip" and len(score["cuts"]) == 2 and -1 <= score["value"] <= 1
    assert score["cuts"][0] > score["cuts"][1]  # a shot that goes on from the last frame hardly cuts


def test_a_shot_goes_on_where_the_one_before_ended(told):
    """Its first frame is nearer to the last frame before it than to the picture that all began with."""
    last, first = pixels(told / "out/shots/001/009.png"), pixels(told / "out/shots/002/000.png")
    began = pixels(told / "out/shots/003/000.png")
    assert abs(first.astype(int) - last).mean() < abs(first.astype(int) - began).mean()


def test_the_same_again_has_the_same_bytes_and_makes_no_shot(told, capsys, monkeypatch):
    before = hashes(told / "out")
    monkeypatch.setattr("bench.story.tell.draw_clip", None)  # a clip that is made again would fail
    assert tell(told / "script/script.yaml", told / "out") == 0
    assert capsys.readouterr().out.count(", kept") == 3
    assert hashes(told / "out") == before


def test_another_folder_has_the_same_bytes(told, tmp_path):
    assert tell(told / "script/script.yaml", tmp_path / "film.mp4") == 0
    ours = hashes(tmp_path)
    theirs = hashes(told / "out")
    assert ours["film.mp4"] == theirs["story.mp4"] and ours["film.json"] == theirs["story.json"]
    assert ours["film.shots/001/003.png"] == theirs["shots/001/003.png"]


def test_damaged_and_changed_shots_are_made_again_and_no_others(told, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(told / "out", out)
    (out / "shots/003/002.png").write_bytes(b"half a pic")
    script = write_script(tmp_path / "script", SCRIPT.replace("moving up", "moving down"))
    assert tell(script, out) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("shot ")]
    assert [line.endswith("kept") for line in lines] == [True, False, False]
    before, after = hashes(told / "out"), hashes(out)
    assert after["shots/001/009.png"] == before["shots/001/009.png"]
    assert after["shots/002/003.png"] != before["shots/002/003.png"]
    assert after["shots/003/002.png"] == before["shots/003/002.png"]


def test_a_change_of_the_shot_before_is_a_change_of_what_goes_on_from_it(told, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(told / "out", out)
    assert tell(write_script(tmp_path / "script", SCRIPT.replace("1.25", "1.125")), out) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("shot ")]
    assert [line.endswith("kept") for line in lines] == [False, False, True]


def test_a_shorter_script_leaves_no_shot_of_a_longer_one(told, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(told / "out", out)
    shutil.copytree(out / "shots/002", out / "shots/.002.4711.tmp")  # what a kill leaves
    assert tell(write_script(tmp_path / "script", "\n".join(SCRIPT.splitlines()[:3]) + "\n"), out) == 0
    assert sorted(path.name for path in (out / "shots").iterdir() if path.is_dir()) == ["001"]
    assert about(out)["cut_consistency"]["value"] is None  # one shot, no cut


def test_what_was_asked_otherwise_is_not_kept(told):
    folder = told / "out/shots/001"
    asked = json.loads((folder / "shot.json").read_text())["asked"]
    assert kept(folder, asked) is not None
    assert kept(folder, {**asked, "text": "another"}) is None
    assert kept(folder / "nowhere", asked) is None


@pytest.mark.parametrize(("frames", "clips"), [(2, 1), (8, 1), (9, 2), (15, 2), (16, 3), (480, 69)])
def test_clips_share_a_frame(frames, clips):
    assert clip_count(frames, 8) == clips


def test_wrong_commands_end_with_2_and_say_everything(tmp_path, capsys):
    script = write_script(tmp_path / "script", SCRIPT.replace("red.png", "none.png"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    assert tell(script, tmp_path / "full", "--seed", "-1", "--language-model", str(tmp_path / "llm")) == 2
    said = capsys.readouterr().err
    for words in ("script.yaml:3: shots[0].image", "it holds something else than", "--seed is -1", "llm: there"):
        assert words in said
    assert tell(write_script(tmp_path / "script"), tmp_path / "film.avi") == 2
    assert "allowed is a name that ends in .mp4" in capsys.readouterr().err
    assert tell(tmp_path / "nothing.yaml", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()


def test_nothing_of_somebody_elses_is_written_over(tmp_path, capsys):
    (tmp_path / "film/shots/001").mkdir(parents=True)
    (tmp_path / "film/shots/001/take1.mov").touch()
    script = write_script(tmp_path / "script")
    assert tell(script, tmp_path / "film") == 2
    assert "shots/001 is no shot of a story (no shot.json)" in capsys.readouterr().err
    as_json = script.rename(script.with_name("film.json"))
    assert tell(as_json, as_json.with_suffix(".mp4")) == 2
    assert "film.json, the script itself, would be written over" in capsys.readouterr().err
    assert as_json.read_text() == SCRIPT and (tmp_path / "film/shots/001/take1.mov").exists()


def test_what_a_script_needs_and_nobody_gives_is_said(tmp_path, capsys):
    (tmp_path / "premise.yaml").write_text("premise: a walk\n")
    assert tell(tmp_path / "premise.yaml", tmp_path / "out") == 2
    assert "give --language-model DIR, a folder of transformers" in capsys.readouterr().err
    assert tell(write_script(tmp_path / "script"), tmp_path / "out", "--profile", "256") == 2
    said = capsys.readouterr().err
    assert "--profile 256 has nothing to train on here: give --checkpoint FILE" in said
    assert "profile 256 has nothing that draws pictures: give --image-model DIR" in said


def test_two_at_once_do_not_write_one_story(told, capsys):
    from bench.locks import Lock

    with Lock(told / "out/shots/.lock"):
        assert tell(told / "script/script.yaml", told / "out") == 1
    assert "is writing this story" in capsys.readouterr().err
