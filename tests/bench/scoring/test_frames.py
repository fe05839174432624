"""Which frames of a file are scored, in every format, and what is said of lengths, rates, sizes and codecs."""

import numpy as np
import pytest

from bench.scoring.frames import Shape, lossy, pixels_digest, take, take_input, told
from bench.scoring.lossless import FORMATS
from bench.scoring.outputs import find_outputs
from datasets.clip import BadVideo
from tests.bench.scoring.made import CODECS, levels, noise, picture, pictures, steps, touch, video

SHAPE = Shape(8, 16, 24)


def only(root):
    (output,) = find_outputs(root).outputs
    return output.path, output.pictures


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_the_first_frames_of_a_file_one_after_another(tmp_path, suffix):
    video(tmp_path / f"a{suffix}", steps(12), fps=24)
    frames, facts = take(*only(tmp_path), SHAPE)
    assert frames.shape == (8, 16, 24, 3)
    assert levels(frames) == list(range(8))
    assert (facts.source_frames, facts.width, facts.height) == (12, 24, 16)
    assert facts.lossless == (suffix == ".mkv")
    if suffix != ".gif":
        assert facts.fps == pytest.approx(24)


@pytest.mark.parametrize(("suffix", "lossless"), [(".png", True), (".jpg", False), (".bmp", True)])
def test_the_first_pictures_of_a_folder(tmp_path, suffix, lossless):
    pictures(tmp_path / "v", steps(12), suffix, first=3, step=2)
    frames, facts = take(*only(tmp_path), SHAPE)
    assert levels(frames) == list(range(8))
    assert (facts.source_frames, facts.fps, facts.lossless) == (12, None, lossless)


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_lossless_files_come_back_to_the_bit(tmp_path, kind):
    clip = noise(1, 8, 17, 31)
    FORMATS[kind](tmp_path / "v", clip, 8.0)
    frames, facts = take(*only(tmp_path), Shape(8, 17, 31))
    assert (frames == clip).all()
    assert facts.lossless


def test_a_lossless_codec_with_thinned_out_colour_is_lossy(tmp_path, monkeypatch):
    monkeypatch.setitem(CODECS, ".mkv", ("ffv1", "yuv420p"))
    video(tmp_path / "a.mkv", steps(8))
    assert not take(*only(tmp_path), SHAPE)[1].lossless


def test_a_lossless_file_that_does_not_come_back_is_an_error(tmp_path, monkeypatch):
    from bench.scoring import lossless

    monkeypatch.setattr(lossless, "read_image", lambda path: np.zeros((16, 24, 3), np.uint8))
    with pytest.raises(ValueError, match="do not come back to the bit"):
        FORMATS["png"](tmp_path / "v", steps(3), 8.0)


@pytest.mark.parametrize("make", [lambda p: video(p / "a.mp4", steps(5)), lambda p: pictures(p / "a", steps(5))])
def test_short_videos_are_set_aside_or_looped(tmp_path, make):
    make(tmp_path)
    with pytest.raises(BadVideo, match=r"too short: 5 .*, 8 needed"):
        take(*only(tmp_path), SHAPE)
    frames, facts = take(*only(tmp_path), Shape(8, 16, 24, "loop"))
    assert levels(frames) == [0, 1, 2, 3, 4, 0, 1, 2]
    assert facts.notes == ("looped: 5 source frames, 8 needed",)


def test_missing_and_uneven_pictures_are_refused(tmp_path):
    pictures(tmp_path / "v", steps(12))
    (tmp_path / "v/frame_0004.png").unlink()
    with pytest.raises(BadVideo, match=r"pictures are missing between frame_0003\.png and frame_0005\.png"):
        take(*only(tmp_path), SHAPE)
    picture(tmp_path / "v/frame_0004.png", steps(1, 8, 8)[0])
    with pytest.raises(BadVideo, match="the pictures differ in size"):
        take(*only(tmp_path), SHAPE)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_what_is_no_video_is_bad_by_name(tmp_path, name):
    touch(tmp_path, name, text="no video at all")
    with pytest.raises(BadVideo, match="cannot be read"):
        take(*only(tmp_path), SHAPE)


def test_other_sizes_are_covered_then_cropped_as_the_reference_is(tmp_path):
    from datasets.transforms import fit

    clip = noise(2, 8, 40, 60)
    FORMATS["ffv1"](tmp_path / "v", clip, 8.0)
    frames, facts = take(*only(tmp_path), SHAPE)
    assert (frames == fit(clip, 16, 24)).all()
    assert (facts.width, facts.height) == (60, 40)


def test_an_input_is_a_picture_or_the_first_frame_of_a_video(tmp_path):
    first = take_input(picture(tmp_path / "a.png", steps(4)[3]), 16, 24)
    assert (first.shape, levels(first)) == ((1, 16, 24, 3), [3])
    assert levels(take_input(video(tmp_path / "b.mkv", steps(4)[2:]), 16, 24)) == [2]
    with pytest.raises(BadVideo):
        take_input(touch(tmp_path, "c.png", text="none") / "c.png", 16, 24)


def test_a_digest_is_of_pixels_and_shape():
    clip = noise(3, 4)
    assert pixels_digest(clip) == pixels_digest(np.asfortranarray(clip))
    assert pixels_digest(clip) != pixels_digest(clip.reshape(4, 16, 64, 3))
    assert pixels_digest(clip) != pixels_digest(clip[::-1])


def item(name, **facts):
    plain = {"source_frames": 8, "width": 24, "height": 16, "fps": 8.0, "codec": "ffv1", "lossless": True}
    return {"id": name, **plain, **facts}


def test_nothing_special_is_said_in_three_lines():
    assert told([item("a"), item("b")], SHAPE) == [
        "all videos have 8 frames",
        "frames per second of the files: 8; frames were taken one after another, none resampled",
        "all videos are 24x16: no resize",
    ]
    assert told([], SHAPE) == []


def test_what_was_done_is_said_and_counted():
    some = [
        item("a", source_frames=16, fps=None, width=64, height=64, codec="gif", lossless=False),
        item("b", source_frames=16, fps=None, width=64, height=64, codec="gif", lossless=False),
        item("c", source_frames=5, fps=24.0, width=12, height=8, codec="h264", lossless=False),
        item("d"),
    ]
    said = " | ".join(told(some, SHAPE))
    for words in (
        "2 videos are longer than 8 frames: their first 8 were taken (frames in the file: 16)",
        "1 videos are shorter than 8 frames and were looped: c",
        "not stated (2), 24 (1), 8 (1)",
        "3 videos were resized to 24x16",
        "64x64 (2), 12x8 (1)",
        "1 videos are smaller than 24x16 and were enlarged: c",
    ):
        assert words in said
    assert lossy(some) == "3 of 4 videos come from lossy files (gif (2), h264 (1))"
    assert lossy([item("d")]) == ""
