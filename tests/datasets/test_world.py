"""The world as files: official layouts, groups that share an appearance, the same bytes from a seed."""

import csv
import hashlib
import json
import re
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from video_files import WORLD

from datasets.catalog import check_disjoint, open_catalog
from datasets.decode import decode_all, probe
from datasets.inspect import inspect_data
from datasets.procedural import CLASSES, COLORS, SHAPES, Scene, render
from datasets.select import ClipRule, select_clips
from datasets.world import WorldConfig, check_world, write_json, write_world

READERS = {"train": "webvid", "ucf101": "ucf101", "msrvtt": "msrvtt"}


def truths(world, dataset):
    return json.loads((world / dataset / "truth.json").read_text())


def scene(fields):
    return Scene(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})


def hashes(root):
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()
    }


def test_every_file_is_what_check_data_calls_sound(world):
    for dataset, reader in READERS.items():
        lines = []
        result = inspect_data(reader, world / dataset, lines.append)
        assert result.sound and not any(result.counts.values()), lines
    counts = {d: len(open_catalog(r, world / d).videos) for d, r in READERS.items()}
    assert counts == {"train": 12, "ucf101": 8 * len(CLASSES), "msrvtt": 12}


def test_truth_names_every_video_and_the_files_show_it(world):
    for dataset, reader in READERS.items():
        known = truths(world, dataset)
        catalog = open_catalog(reader, world / dataset)
        assert known.keys() == {video.id for video in catalog.videos}
        for video in catalog.videos[:6]:
            decoded = decode_all(video.path)
            drawn = render(scene(known[video.id]), len(decoded.frames))
            assert decoded.fps == 24 and decoded.notes == ()
            # Brightness is kept by the codecs; colour is halved in size by 4:2:0, so that edges bleed.
            error = (decoded.frames.astype(float) - drawn) @ np.array([0.299, 0.587, 0.114])
            assert np.abs(error).mean() < 3, video.id
            assert np.abs((decoded.frames.astype(float) - drawn).mean((0, 1, 2))).max() < 4, video.id


def test_lengths_and_sizes_are_those_of_the_config(world):
    lengths = Counter()
    for dataset, reader in READERS.items():
        for video in open_catalog(reader, world / dataset).videos:
            found = probe(video.path)
            assert (found.height, found.width) == (32, 40)
            assert found.codec == ("mpeg4" if dataset == "ucf101" else "h264")
            lengths[found.frames] += 1
    assert set(lengths) == set(range(29, 37))


def test_ucf101_has_the_official_lists(world):
    lists = world / "ucf101/ucfTrainTestlist"
    classes = (lists / "classInd.txt").read_bytes()
    assert classes.startswith(b"1 CircleGrowing\r\n2 CircleMovingDown\r\n") and classes.count(b"\r\n") == len(CLASSES)
    test, train = (lists / "testlist01.txt").read_text(), (lists / "trainlist01.txt").read_text()
    assert all(re.fullmatch(r"(\w+)/v_\1_g0[1-7]_c\d\d\.avi", line) for line in test.splitlines())
    assert all(re.fullmatch(r"(\w+)/v_\1_g08_c\d\d\.avi \d+", line) for line in train.splitlines())
    assert len(test.splitlines()) == 7 * len(CLASSES)
    for k in (1, 2, 3):
        parts = [open_catalog("ucf101", world / "ucf101", f"{part}{k}") for part in ("train", "test")]
        assert sum(len(p.videos) for p in parts) == 8 * len(CLASSES)
        check_disjoint(*parts)


def test_the_default_world_has_enough_to_evaluate_and_train():
    config = WorldConfig()
    assert 7 * config.ucf101_clips * len(CLASSES) >= 400 and config.msrvtt_videos >= 400
    assert config.train_videos >= 1500


def test_clips_of_a_group_share_their_appearance_and_others_do_not(tmp_path):
    write_world(tmp_path / "w", replace(WORLD, ucf101_clips=2, train_videos=1, msrvtt_videos=1), 0)
    fixed = (
        "shape",
        "motion",
        "color",
        "accent",
        "accent_color",
        "texture",
        "ground",
        "angle",
        "period",
        "phase",
    )
    groups = defaultdict(list)
    for name, fields in truths(tmp_path / "w", "ucf101").items():
        groups[name.rpartition("_")[0]].append(fields)
    appearances = set()
    for one, two in groups.values():
        assert all(one[key] == two[key] for key in fixed)
        assert (one["x"], one["y"], one["speed"]) != (two["x"], two["y"], two["speed"])
        appearances.add(json.dumps([one[key] for key in fixed]))
    assert len(appearances) == len(groups) == 8 * len(CLASSES)


def test_msrvtt_has_the_official_schema(world):
    root = world / "msrvtt"
    content = json.loads((root / "test_videodatainfo.json").read_text())
    assert set(content) == {"info", "videos", "sentences"}
    assert set(content["info"]) == {"contributor", "data_created", "version", "description", "year"}
    assert set(content["videos"][0]) == {
        "category",
        "url",
        "video_id",
        "start time",
        "end time",
        "split",
        "id",
    }
    assert set(content["sentences"][0]) == {"caption", "video_id", "sen_id"}
    assert Counter(s["video_id"] for s in content["sentences"]) == {f"video{7010 + k}": 20 for k in range(12)}
    rows = list(csv.DictReader((root / "MSRVTT_JSFUSION_test.csv").open()))
    first = open_catalog("msrvtt", root, "test").videos
    assert [(row["video_id"], (row["sentence"],)) for row in rows] == [(v.id, v.captions[:1]) for v in first]
    assert rows[0]["key"] == "ret0" and rows[0]["vid_key"] == "msr7010"


def test_the_schema_is_that_of_the_real_file(world, real_data):
    ours = json.loads((world / "msrvtt/test_videodatainfo.json").read_text())
    real = json.loads((real_data / "msrvtt/test_videodatainfo.json").read_text())
    for key in ("videos", "sentences"):
        assert {k: type(v) for k, v in ours[key][0].items()} == {k: type(v) for k, v in real[key][0].items()}
    assert {k: type(v) for k, v in ours["info"].items()} == {k: type(v) for k, v in real["info"].items()}


def test_captions_say_what_the_video_shows_and_no_more(world):
    for video in open_catalog("msrvtt", world / "msrvtt").videos:
        fields = truths(world, "msrvtt")[video.id]
        for caption in video.captions:
            words = caption.split()
            assert [shape for shape in SHAPES if shape in words] == [fields["shape"]]
            assert {c for c in COLORS if c in words} <= {fields["color_name"]}


def test_training_captions_and_addresses_are_webvids(world):
    rows = list(csv.DictReader((world / "train/results_train.csv").open()))
    assert set(rows[0]) == {"videoid", "contentUrl", "duration", "page_dir", "name"}
    assert rows[0]["page_dir"] == "000001_000050" and re.fullmatch(r"PT00H00M0[12]S", rows[0]["duration"])
    assert [row["name"] for row in rows] == [v.captions[0] for v in open_catalog("webvid", world / "train").videos]


def test_training_and_evaluation_share_nothing(world):
    check_world(world)
    train = open_catalog("webvid", world / "train")
    for dataset in ("ucf101", "msrvtt"):
        check_disjoint(train, open_catalog(dataset, world / dataset))


def test_a_scene_in_both_is_found(world, tmp_path):
    for dataset in READERS:
        (tmp_path / dataset).mkdir()
        write_json(tmp_path / dataset / "truth.json", truths(world, dataset))
    leaked = truths(world, "train")
    leaked["1000000001"] = truths(world, "msrvtt")["video7012"]
    write_json(tmp_path / "train/truth.json", leaked)
    with pytest.raises(ValueError, match="video video7012 of msrvtt is also training video 1000000001"):
        check_world(tmp_path)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(world, tmp_path):
    write_world(tmp_path / "again", WORLD, 3)
    assert hashes(tmp_path / "again") == hashes(world)
    write_world(tmp_path / "other", WORLD, 4)
    other, ours = hashes(tmp_path / "other"), hashes(world)
    assert other.keys() == ours.keys()
    same = {name for name in ours if ours[name] == other[name]}
    assert all(name.startswith("ucf101/ucfTrainTestlist") or name == "msrvtt/category.txt" for name in same)


def test_a_larger_world_holds_the_videos_of_a_smaller_one(world, tmp_path):
    write_world(tmp_path / "larger", replace(WORLD, train_videos=14, msrvtt_videos=13), 3)
    larger, ours = hashes(tmp_path / "larger"), hashes(world)
    assert all(larger[name] == ours[name] for name in ours if name.endswith((".mp4", ".avi")))


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(ValueError, match="is not empty"):
        write_world(tmp_path, WORLD, 0)


@pytest.mark.parametrize("wrong", [{"ucf101_groups": 7}, {"train_videos": 0}, {"msrvtt_videos": 2991},
                                   {"min_frames": 30, "max_frames": 29}, {"max_frames": 37}])  # fmt: skip
def test_sizes_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"allowed|must satisfy"):
        replace(WORLD, **wrong)


def test_progress_counts_every_video(tmp_path):
    seen = []
    write_world(tmp_path / "w", replace(WORLD, train_videos=2, msrvtt_videos=2), 0, lambda *at: seen.append(at))
    total = 4 + 8 * len(CLASSES)
    assert seen == [(k, total) for k in range(1, total + 1)]


def test_tiny_clips_show_the_whole_motion(world):
    """T=8 at stride 3, 32x32: every video is long enough, whatever the start."""
    rule = ClipRule(frames=8, frame_stride=3, height=32, width=32)
    for dataset, reader in READERS.items():
        catalog = open_catalog(reader, world / dataset)
        selection = select_clips(catalog, rule)
        clips = list(selection)
        assert len(clips) == len(catalog.videos) and not selection.set_aside
        changes = [np.abs(clip.frames[-1].astype(int) - clip.frames[0]).max() for clip in clips]
        assert min(changes) > 40
