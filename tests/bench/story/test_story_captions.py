"""Captions: times, what players may not take for commands, and letters in the picture."""

import numpy as np
import pytest

from bench.story import captions


def test_times_follow_the_frames_and_shots_without_a_caption_are_left_out():
    found = captions.cues([16, 4, 29000], ["one", "", "three"], 8)
    assert [(cue.start, cue.end, cue.text) for cue in found] == [(0, 2, "one"), (2.5, 3627.5, "three")]
    assert captions.srt(found) == (
        "1\n00:00:00,000 --> 00:00:02,000\none\n\n2\n00:00:02,500 --> 01:00:27,500\nthree\n"
    )
    assert captions.vtt(found).startswith("WEBVTT\n\n00:00:00.000 --> 00:00:02.000\none\n\n00:00:02.500 -->")


NASTY = "<b>fat</b> & {\\an8} --> 00:01\nsecond line"


def test_a_caption_is_text_to_every_player():
    (cue,) = captions.cues([8], [NASTY], 8)
    web, rip = captions.vtt([cue]), captions.srt([cue])
    payload = web.split("\n", 3)[3]
    assert payload == "&lt;b&gt;fat&lt;/b&gt; &amp; {\\an8} --&gt; 00:01\nsecond line\n"
    assert "<" not in rip and "{" not in rip and "\\" not in rip
    assert rip.count("-->") == 1 and "‹b›fat‹/b› & (∖an8) -› 00:01\nsecond line" in rip


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (2, 256, 256, 3), dtype=np.uint8)


def test_letters_are_drawn_at_the_lower_edge_and_nothing_else_changes(frames):
    made = captions.subtitled(frames, "A square goes for a walk.")
    assert made.shape == frames.shape and made.dtype == np.uint8
    assert (made[:, :200] == frames[:, :200]).all() and (made[:, 240] != frames[:, 240]).any()
    assert (made[:, 225:] > 250).any() and made[0, 255].mean() < 0.5 * frames[0, 255].mean()
    assert (captions.subtitled(frames, "") == frames).all()
    assert (captions.subtitled(frames, "A square goes for a walk.") == made).all()  # the same again


def test_long_captions_are_wrapped_made_smaller_and_cut_at_last():
    letters = captions.open_font(None, 18)
    rows = captions.wrapped("one two three four five six seven eight nine\nten", letters, 120)
    assert " ".join(rows[:-1]) == "one two three four five six seven eight nine" and rows[-1] == "ten"
    assert all(letters.getlength(row) <= 120 for row in rows)
    assert "".join(captions.wrapped("a" * 80, letters, 120)) == "a" * 80  # a word wider than the picture
    layer = np.asarray(captions.caption_layer(256, 256, "word " * 40))
    assert not layer[:170].any() and layer[200:].any()
    assert not layer[:, 0].any() and not layer[:, -1].any()


@pytest.mark.parametrize("size", [(32, 32), (20, 300), (300, 20), (8, 8)])
def test_any_size_of_picture_and_any_caption(size):
    for text in ("x", "a\nb\nc\nd", "é漢字🙂 مرحبا", "w" * 200):
        assert captions.subtitled(np.zeros((1, *size, 3), np.uint8), text).shape == (1, *size, 3)


def test_letters_that_the_font_lacks_are_known_and_spelled_another_way():
    assert captions.missing_letters(["plain & “quoted”", "漢 字", "漢"]) == ["漢", "字"]
    assert captions.missing_letters([captions.spelled("Müller — Straße, łódź, 漢字 -> €5")]) == []
    assert captions.spelled("Müller — Straße, 漢字") == "Muller - Strasse, ??"
    assert captions.spelled("plain “as it is”\nnext") == "plain “as it is”\nnext"


def test_a_font_that_is_none_is_named(tmp_path):
    bad = tmp_path / "bad.ttf"
    bad.write_text("no font")
    with pytest.raises(ValueError, match=r"--font .*bad\.ttf: no font"):
        captions.open_font(bad, 16)
