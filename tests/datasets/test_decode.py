"""Exact frames, start and too-short rules, and a reason for every file that cannot be used."""

import json
import os
import struct
import time

import numpy as np
import pytest
from video_files import noise, numbered, numbers, write_video

from datasets.clip import BadVideo
from datasets.decode import Cut, Limits, TooShort, decode_all, decode_clip, opened, place, probe


@pytest.mark.parametrize("codec, name", [("ffv1", "v.avi"), ("mpeg4", "v.avi"), ("libx264", "v.mp4")])
@pytest.mark.parametrize("start, expected", [("first", [0, 3, 6, 9]), ("center", [15, 18, 21, 24])])
def test_the_frames_are_exactly_the_ones_asked_for(tmp_path, codec, name, start, expected):
    decoded = decode_clip(numbered(tmp_path / name, codec=codec), Cut(4, (3,), start))
    assert numbers(decoded.frames) == expected
    assert (decoded.start, decoded.frame_stride, decoded.fps) == (expected[0], 3, 25.0)


def test_every_random_start_is_possible_and_the_frames_begin_there(tmp_path):
    path = numbered(tmp_path / "v.avi", frames=12)
    starts = set()
    for seed in range(40):
        decoded = decode_clip(path, Cut(3, (4,), "random"), np.random.default_rng(seed))
        assert numbers(decoded.frames) == [decoded.start, decoded.start + 4, decoded.start + 8]
        starts.add(decoded.start)
    assert starts == {0, 1, 2, 3}


def test_several_strides_are_drawn_among_those_that_fit():
    draws = [(u, 0.0) for u in (0.0, 0.3, 0.6, 0.99)]
    assert {place(Cut(4, (1, 2, 3, 9)), 10, d).frame_stride for d in draws} == {1, 2, 3}
    assert {place(Cut(4, (1, 2, 3, 9)), 9, d).frame_stride for d in draws} == {1, 2}


def test_one_frame_more_than_the_span_allows_two_starts():
    cut = Cut(8, (3,), "random")
    assert place(cut, 22, (0.0, 0.999)).start == 0
    assert place(cut, 23, (0.0, 0.499)).start == 0
    assert place(cut, 23, (0.0, 0.5)).start == 1
    assert [place(Cut(2, (1,), "center"), n, (0.0, 0.0)).start for n in (2, 3, 4, 5)] == [0, 0, 1, 1]
    with pytest.raises(TooShort, match="too short: 21 frames, 22 needed"):
        place(cut, 21, (0.0, 0.0))


def test_too_short_videos_are_set_aside_looped_or_taken_at_the_nearest_stride(tmp_path):
    path = numbered(tmp_path / "v.avi", frames=10)
    with pytest.raises(BadVideo, match="too short: 10 frames, 13 needed"):
        decode_clip(path, Cut(5, (3,)))
    looped = decode_clip(path, Cut(5, (3,), too_short="loop"))
    assert numbers(looped.frames) == [0, 3, 6, 9, 2]
    assert looped.notes == ("looped: 10 source frames, 13 needed",)
    nearest = decode_clip(path, Cut(5, (3,), too_short="nearest_stride"))
    assert (numbers(nearest.frames), nearest.frame_stride) == ([0, 2, 4, 6, 8], 2)
    assert nearest.notes == ("frame stride 2 instead of 3: 10 source frames, 13 needed",)
    with pytest.raises(BadVideo, match="too short: 10 frames, 11 needed"):
        decode_clip(path, Cut(11, (1,), too_short="nearest_stride"))


def test_decoding_stops_after_the_last_frame_needed(tmp_path):
    """Limits of 12 frames stop any reader that goes on to the 40th."""
    path = numbered(tmp_path / "v.avi")
    assert numbers(decode_clip(path, Cut(4, (3,)), limits=Limits(frames=12)).frames) == [0, 3, 6, 9]
    with pytest.raises(BadVideo, match="more than 12 frames"):
        decode_all(path, Limits(frames=12))


def test_a_large_file_is_read_twice_with_the_same_result(tmp_path, monkeypatch):
    path, cut = numbered(tmp_path / "v.avi"), Cut(4, (3,), "random")
    held = decode_clip(path, cut, np.random.default_rng(5))
    monkeypatch.setattr("datasets.decode.HELD_BYTES", 0)
    reread = decode_clip(path, cut, np.random.default_rng(5))
    assert held.start == reread.start > 0
    np.testing.assert_array_equal(held.frames, reread.frames)


def test_a_file_cut_short_is_placed_among_the_frames_that_are_there(tmp_path):
    whole = write_video(tmp_path / "whole.avi", noise(40))
    data = whole.read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(data[: len(data) // 2])
    decoded = decode_clip(cut, Cut(4, (2,), "center"))
    assert 0 < decoded.start < 17
    np.testing.assert_array_equal(decoded.frames[0], decode_all(whole).frames[decoded.start])
    assert any(note.startswith("its header says 40 frames") for note in decoded.notes)


def test_corrupt_frames_are_noted_but_only_those_that_were_decoded(tmp_path):
    path = write_video(tmp_path / "v.mp4", noise(30, 64, 64), codec="libx264")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 600] = bytes(b ^ 0xFF for b in data[middle : middle + 600])
    path.write_bytes(data)
    assert any("flagged corrupt" in note or "do not decode" in note for note in decode_all(path).notes)
    assert decode_clip(path, Cut(4)).notes == ()


def test_each_frame_can_be_shrunk_as_it_comes(tmp_path):
    decoded = decode_clip(numbered(tmp_path / "v.avi"), Cut(4), each=lambda frame: frame[:2, :2].copy())
    assert decoded.frames.shape == (4, 2, 2, 3)


def test_probe_reads_the_header(tmp_path):
    found = probe(numbered(tmp_path / "v.mp4", codec="libx264"))
    assert (found.width, found.height, found.fps, found.frames) == (24, 16, 25.0, 40)
    assert (found.codec, found.pixel_format) == ("h264", "yuv420p")


def test_a_rotation_in_the_file_is_applied(tmp_path):
    """A phone's portrait video: the track header holds the matrix of a quarter turn clockwise."""
    frames = np.zeros((3, 16, 32, 3), np.uint8)
    frames[:, :, 16:] = 255  # the right half is white
    path = write_video(tmp_path / "v.mp4", frames, codec="libx264")
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    clockwise = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    data = path.read_bytes()
    at = data.index(identity, data.index(b"tkhd"))
    path.write_bytes(data[:at] + clockwise + data[at + len(identity) :])
    upright = decode_all(path).frames
    assert upright.shape == (3, 32, 16, 3)
    assert upright[:, :14].max() < 20 and upright[:, 18:].min() > 235  # right became bottom


def test_a_wrong_rule_names_what_is_allowed():
    with pytest.raises(ValueError, match=r"start is 'frist'. Known: first, center, random. Did you mean 'first'?"):
        Cut(4, start="frist")
    with pytest.raises(ValueError, match="too_short is 'skip'"):
        Cut(4, too_short="skip")
    with pytest.raises(ValueError, match="allowed: 1 or more"):
        Cut(4, (0,))


def test_a_random_rule_needs_an_rng(tmp_path):
    with pytest.raises(ValueError, match="rng"):
        decode_clip(numbered(tmp_path / "v.avi"), Cut(4, (1, 2)))


def bad_files(folder):
    numbered(folder / "v.avi")  # what the lists below name is there
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.avi").write_text("1 ApplyEyeMakeup\n" * 100)
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXTINF:10,\nv.avi\n#EXT-X-ENDLIST\n")
    (folder / "concat.mp4").write_text("ffconcat version 1.0\nfile v.avi\n")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "folder.mp4").mkdir()
    data = write_video(folder / "whole.mp4", noise(8), codec="libx264").read_bytes()
    (folder / "headless.mp4").write_bytes(data[: data.index(b"moov")])
    (folder / "riff_only.avi").write_bytes(b"RIFF\x10\0\0\0AVI LIST")
    return {
        "empty.mp4": "empty file",
        "text.avi": "cannot be read as video",
        "list.mp4": "cannot be read as video",
        "list.m3u8": "cannot be read as video",
        "concat.mp4": "cannot be read as video",
        "pipe.mp4": "not a regular file",
        "folder.mp4": "not a regular file",
        "headless.mp4": "cannot be read as video",
        "riff_only.avi": "cannot be read as video|no video stream",
        "absent.mp4": "missing",
    }


def test_every_bad_file_has_a_reason_and_none_hangs(tmp_path):
    started = time.monotonic()
    for name, reason in bad_files(tmp_path).items():
        with pytest.raises(BadVideo, match=reason) as caught:
            decode_clip(tmp_path / name, Cut(2, (1,), "center"))
        assert caught.value.path == tmp_path / name
    assert time.monotonic() - started < 10


def test_a_codec_that_nobody_knows_is_a_reason(tmp_path):
    path = write_video(tmp_path / "v.avi", noise(4))
    path.write_bytes(path.read_bytes().replace(b"FFV1", b"QZQZ"))
    with pytest.raises(BadVideo, match="codec is not known"):
        decode_clip(path, Cut(2))


@pytest.mark.parametrize("name, codec", [("v.mp4", "libx264"), ("v.avi", "mpeg4"), ("v.mkv", "ffv1"), ("v.gif", "gif")])
def test_random_damage_ends_in_frames_or_in_a_reason(tmp_path, name, codec):
    rng = np.random.default_rng(0)
    whole = write_video(tmp_path / name, noise(12, 32, 32), codec=codec).read_bytes()
    outcomes = set()
    for case in range(24):
        data = bytearray(whole[: rng.integers(1, len(whole))] if case % 3 == 0 else whole)
        reach = len(data) if case % 3 == 1 else min(len(data), 600)
        for at in rng.integers(0, reach, 10 * (case % 3 > 0)):
            data[at] = rng.integers(256)
        path = tmp_path / f"{case}{name}"
        path.write_bytes(data)
        try:
            decoded = decode_clip(path, Cut(4, (2,), "random", "loop"), rng, limits=Limits(seconds=5))
            assert decoded.frames.shape[0] == 4 and decoded.frames.dtype == np.uint8
            outcomes.add("frames")
        except BadVideo as bad:
            assert bad.reason
            outcomes.add("reason")
    assert outcomes == {"frames", "reason"}


def test_limits_of_pixels_frames_and_time_are_reasons_too(tmp_path):
    path = numbered(tmp_path / "v.avi")
    cut = Cut(2, (1,), "center")
    with pytest.raises(BadVideo, match="24x16 is larger than 100 pixels"):
        decode_clip(path, cut, limits=Limits(pixels=100))
    with pytest.raises(BadVideo, match="more than 10 frames"):
        decode_clip(path, cut, limits=Limits(frames=10))
    with pytest.raises(BadVideo, match="more than"), opened(path, Limits(seconds=1)) as reader:
        reader.deadline = time.monotonic() - 1
        list(reader.frames())


def test_frames_of_changing_size_are_refused_unless_they_are_made_equal(tmp_path):
    small, large = noise(2, 16, 16), noise(2, 32, 32)
    first = write_video(tmp_path / "a.mpg", small, codec="mpeg4").read_bytes()
    second = write_video(tmp_path / "b.mpg", large, codec="mpeg4").read_bytes()
    both = tmp_path / "both.mpg"
    both.write_bytes(first + second)
    with pytest.raises(BadVideo, match=r"frame size changes within the file .16x16, 32x32."):
        decode_all(both)
    assert decode_clip(both, Cut(4), each=lambda f: f[:8, :8].copy()).frames.shape == (4, 8, 8, 3)


def test_names_with_quotes_newlines_and_other_bytes_can_be_opened(tmp_path):
    for name in [
        'it\'s "q".avi',
        "two\nlines.avi",
        "%03d.avi",
        "-v.avi",
        "http:x.avi",
        os.fsdecode(b"\xff\xfe.avi"),
    ]:
        whole = numbered(tmp_path / "plain.avi", frames=3)
        whole.rename(tmp_path / name)
        assert numbers(decode_all(tmp_path / name).frames) == [0, 1, 2]


def test_real_files_decode_to_the_recorded_frames_and_means(real_data):
    facts = json.loads((real_data / "facts.json").read_text())["videos"]
    known = {name: fact for name, fact in facts.items() if "frames_decoded" in fact}
    assert len(known) > 10
    for name, fact in known.items():
        decoded = decode_all(real_data.parent / name)
        assert decoded.frames.shape == (fact["frames_decoded"], fact["height"], fact["width"], 3), name
        assert decoded.fps == (pytest.approx(fact["fps"]) if fact["fps"] else None), name
        for frame, key in ((0, "first_frame_mean_rgb"), (-1, "last_frame_mean_rgb")):
            np.testing.assert_allclose(decoded.frames[frame].mean((0, 1)), fact[key], atol=2, err_msg=name)


def test_real_clips_are_the_same_frames_as_the_whole_video(real_data):
    path = real_data / "ucf101/UCF-101/Biking/v_Biking_g05_c02.avi"
    whole = decode_all(path).frames
    clip = decode_clip(path, Cut(16, (3,), "random"), np.random.default_rng(0))
    np.testing.assert_array_equal(clip.frames, whole[clip.start : clip.start + 46 : 3])


def test_real_bad_files_have_the_recorded_verdicts(real_data):
    cut = Cut(16, (3,), "center")
    reasons = {}
    for path in sorted((real_data / "bad").iterdir()):
        try:
            reasons[path.name] = "; ".join(decode_clip(path, cut).notes)
        except BadVideo as bad:
            reasons[path.name] = bad.reason
    for name, words in {
        "truncated_40pct.avi": "its header says 250 frames, 98 are there",
        "flipped_1k.mp4": "flagged corrupt: 1 of",
        "zero_byte.mp4": "empty file",
        "text_renamed.avi": "cannot be read as video",
        "one_frame.mp4": "too short: 1 frame, 46 needed",
        "odd_17x31.avi": "too short: 20 frames",
        "grey.mp4": "too short: 24 frames",
        "grey_ffv1.avi": "too short: 8 frames",
    }.items():
        assert words in reasons[name]
