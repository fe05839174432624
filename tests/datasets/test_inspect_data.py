"""`check data`: every bad file in a line of its own, by name; nothing said of sound ones."""

import re

import numpy as np
import pytest
from video_files import noise, numbered, write_video

from datasets.inspect import examine, inspect_data


def bad_folder(root):
    """One file of every sort, and what must be said of it."""
    write_video(root / "sound.mp4", noise(8, 32, 32), codec="libx264")
    write_video(root / "one_frame.mp4", noise(1, 32, 32), codec="libx264")
    write_video(root / "odd_sides.avi", noise(8, 31, 17))
    numbered(root / "grey.mp4", codec="libx264")
    (root / "empty.mp4").write_bytes(b"")
    (root / "text.avi").write_text("not a video")
    data = write_video(root / "cut.avi", noise(40)).read_bytes()
    (root / "cut.avi").write_bytes(data[: len(data) // 2])
    data = bytearray(write_video(root / "flip.mp4", noise(30, 64, 64), codec="libx264").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 600] = bytes(b ^ 0xFF for b in data[middle : middle + 600])
    (root / "flip.mp4").write_bytes(data)
    (root / "new\nline.mp4").write_bytes(b"")
    return {
        "one_frame.mp4": ("odd", "one frame only"),
        "odd_sides.avi": ("odd", "odd size 17x31"),
        "grey.mp4": ("odd", "no colour"),
        "empty.mp4": ("unreadable", "empty file"),
        "text.avi": ("unreadable", "cannot be read as video"),
        "cut.avi": ("damaged", "its header says 40 frames"),
        "flip.mp4": ("damaged", ""),
        "new\\nline.mp4": ("unreadable", "empty file"),
    }


@pytest.mark.parametrize("workers", [1, 3])
def test_every_bad_file_has_its_line(tmp_path, workers):
    expected = bad_folder(tmp_path)
    lines = []
    result = inspect_data("folder", tmp_path, lines.append, workers=workers)
    assert len(lines) == len(expected) + 1
    for name, (kind, words) in expected.items():
        (line,) = [line for line in lines if f" {name}: " in line]
        assert line.startswith(kind) and words in line
    assert lines[-1] == "9 videos: 0 missing, 3 unreadable, 2 damaged, 3 odd"
    assert not result.sound and [line.partition(" ")[2] for line in lines[:-1]] == sorted(
        (line.partition(" ")[2] for line in lines[:-1]), key=str.strip
    )


def test_missing_files_are_named_one_by_one(tmp_path):
    (tmp_path / "videos.csv").write_text("videoid,name,page_dir\n1,a,p\n2,b,p\n3,c,p\n")
    write_video(tmp_path / "videos/p/2.mp4", noise(8, 32, 32), codec="libx264")
    lines = []
    result = inspect_data("webvid", tmp_path, lines.append)
    assert lines == [
        "missing    videos/p/1.mp4: listed, not on disk",
        "missing    videos/p/3.mp4: listed, not on disk",
        "note       2 of the 3 videos listed are absent, the first: videos/p/1.mp4",
        "1 videos: 2 missing, 0 unreadable, 0 damaged, 0 odd",
    ]
    assert not result.sound


def test_a_sound_folder_is_sound_and_an_empty_one_is_not(tmp_path):
    (tmp_path / "empty").mkdir()
    assert not inspect_data("folder", tmp_path / "empty", lambda line: None).sound
    write_video(tmp_path / "full/a.mp4", noise(8, 32, 32), codec="libx264")
    assert inspect_data("folder", tmp_path / "full", lambda line: None).sound


def test_a_video_that_turns_to_colour_late_is_not_grey(tmp_path):
    frames = np.zeros((30, 32, 32, 3), np.uint8)
    frames[15:, ..., 0] = 200
    assert examine(write_video(tmp_path / "fade.mp4", frames, codec="libx264")) == []


def test_the_real_bad_files(real_data):
    lines = []
    inspect_data("folder", real_data / "bad", lines.append)
    said = {line.split()[1].rstrip(":"): line for line in lines[:-1]}
    expected = {
        "truncated_40pct.avi": "damaged.*98",
        "flipped_1k.mp4": "damaged.*flagged corrupt: 1",
        "zero_byte.mp4": "unreadable.*empty",
        "text_renamed.avi": "unreadable",
        "one_frame.mp4": "odd.*one frame",
        "odd_17x31.avi": "odd.*17x31",
        "grey.mp4": "odd.*grey",
        "grey_ffv1.avi": "odd.*grey",
    }
    assert said.keys() == expected.keys()
    for name, words in expected.items():
        assert re.match(words, said[name])


def test_the_real_sound_files(real_data):
    for name, root in (("ucf101", "ucf101/UCF-101"), ("msrvtt", "msrvtt"), ("folder", "misc")):
        result = inspect_data(name, real_data / root, lambda line: None)
        assert result.videos and not any(result.counts[kind] for kind in ("unreadable", "damaged", "odd"))
