"""The steps `world` and `clips`: what they leave, that it is the same each time, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from bench.steps import clips, world
from bench.work import Work
from datasets.catalog import open_catalog
from datasets.select import ClipRule, select_clips

SIZES = {"train_videos": 5, "ucf101_groups": 8, "ucf101_clips": 1, "msrvtt_videos": 6, "seed": 1}
RULE = {
    "frames": 8, "frame_stride": 3, "height": 32, "width": 32, "start": "random", "too_short": "set_aside",
    "clips_per_video": 1, "count": None, "seed": 0, "caption": "first",
}  # fmt: skip


def work(tmp_path: Path, config: dict, **inputs: Path) -> Work:
    for name in ("out", "scratch"):
        (tmp_path / name).mkdir(parents=True)
    return Work(config=config, inputs=inputs, out=tmp_path / "out", scratch=tmp_path / "scratch")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    step = work(tmp_path_factory.mktemp("step"), SIZES)
    world.run(step)
    return step.out


def run_clips(folder: Path, tree: Path, catalog: str = "msrvtt", root: str = "msrvtt", **changes) -> Path:
    rule = {**RULE, **changes}
    config = {
        "dataset": "msrvtt",
        "catalog": catalog,
        "split": None,
        "rule": rule,
        "root": root,
        "content": None,
    }
    step = work(folder, config, world=tree)
    clips.run(step)
    return step.out


def test_the_world_has_its_three_parts_and_nothing_else(tree):
    assert sorted(path.name for path in tree.iterdir()) == ["msrvtt", "train", "ucf101"]
    assert len(open_catalog("webvid", tree / "train").videos) == 5


def test_an_unknown_size_of_the_world_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"world.ucf_groups is not known. Known: train_videos, .*seed"):
        world.run(work(tmp_path, {**SIZES, "ucf_groups": 3}))


def test_clips_are_those_that_the_rule_selects(tmp_path, tree):
    out = run_clips(tmp_path, tree, count=4)
    expected = list(select_clips(open_catalog("msrvtt", tree / "msrvtt"), ClipRule(**{**RULE, "count": 4})))
    frames = load_file(out / "clips.safetensors")["frames"]
    np.testing.assert_array_equal(frames, np.stack([clip.frames for clip in expected]))
    items = json.loads((out / "items.json").read_text())
    assert [item["id"] for item in items] == [clip.id for clip in expected]
    assert items[0] == {
        "id": expected[0].id,
        "video": expected[0].id,
        "prompt": expected[0].prompt,
        "group": expected[0].group,
        "label": None,
        "fps": 24.0,
        "start": expected[0].start,
        "frame_stride": 3,
        "notes": [],
    }
    assert json.loads((out / "set_aside.json").read_text()) == json.loads((out / "notes.json").read_text()) == []


def test_the_same_clips_give_the_same_bytes_wherever_the_data_lie(tmp_path, tree):
    (tmp_path / "moved").symlink_to(tree)
    one = run_clips(tmp_path / "1", tree, "ucf101", "ucf101", count=20, caption="class_name", frame_stride=[1, 2, 3])
    two = run_clips(tmp_path / "2", tmp_path / "moved", "ucf101", "ucf101", count=20, caption="class_name",
                    frame_stride=[1, 2, 3])  # fmt: skip
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes()
    strides = {item["frame_stride"] for item in json.loads((one / "items.json").read_text())}
    assert strides == {1, 2, 3}


def test_a_folder_of_the_user_needs_no_world(tmp_path, tree):
    config = {"catalog": "folder", "root": str(tree / "msrvtt/TestVideo"), "rule": {**RULE, "count": 2}}
    step = work(tmp_path, config)
    clips.run(step)
    assert len(json.loads((step.out / "items.json").read_text())) == 2
    assert json.loads((step.out / "notes.json").read_text()) == ["2 of 2 clips have no caption: their prompt is empty"]


def test_what_is_set_aside_is_named_by_its_path_in_the_data_set(tmp_path, tree):
    folder = tmp_path / "data" / "sub"
    folder.mkdir(parents=True)
    (folder / "bad\nname.mp4").write_bytes(b"")
    (folder / "good.mp4").write_bytes((tree / "msrvtt/TestVideo/video7010.mp4").read_bytes())
    step = work(tmp_path / "step", {"catalog": "folder", "root": str(tmp_path / "data"), "rule": RULE})
    clips.run(step)
    assert json.loads((step.out / "set_aside.json").read_text()) == [
        {"id": "sub/bad\nname", "path": "sub/bad\\nname.mp4", "reason": "empty file (0 bytes)"}
    ]


def test_no_clip_at_all_is_an_error_that_says_why(tmp_path, tree):
    with pytest.raises(ValueError, match=r"no clip of msrvtt is left .6 videos, 6 set aside.*too short"):
        run_clips(tmp_path, tree, frames=30)


def test_progress_is_reported(tmp_path, tree):
    seen = []
    config = {"catalog": "msrvtt", "root": "msrvtt", "rule": {**RULE, "count": 3}}
    base = work(tmp_path, config, world=tree)
    clips.run(Work(**{**vars(base), "report": lambda *at: seen.append(at)}))
    assert seen == [(1, 3, "clips"), (2, 3, "clips"), (3, 3, "clips")]
