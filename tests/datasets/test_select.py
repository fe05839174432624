"""Which clips a rule chooses, and that nothing but (seed, data set, id) decides it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from video_files import numbered, numbers

from datasets.clip import Catalog, Video
from datasets.draws import digest, generator
from datasets.select import ClipRule, ordered, prompt, select_clips
from datasets.transforms import covering_size, fit, fit_frame, middle

RULE = ClipRule(frames=4, frame_stride=2, height=16, width=16, seed=7)


def make_catalog(folder: Path, count: int = 6, name: str = "folder") -> Catalog:
    videos = [
        Video(
            f"v{k}",
            numbered(folder / f"v{k}.avi", 20 + k),
            (f"caption {k}", f"other {k}"),
            "ClassOne",
            f"g{k}",
        )
        for k in range(count)
    ]
    return Catalog(name, folder, tuple(videos))


def summary(catalog, rule):
    return [(c.id, c.start, c.frame_stride, c.prompt, c.frames.tobytes()) for c in select_clips(catalog, rule)]


def test_a_clip_carries_what_its_video_is_and_which_frames_it_holds(tmp_path):
    clip = next(select_clips(make_catalog(tmp_path, 1), RULE).clips)
    assert (clip.id, clip.video, clip.group, clip.label, clip.fps, clip.frame_stride) == (
        "v0", "v0", "g0", "ClassOne", 25.0, 2)  # fmt: skip
    assert clip.frames.shape == (4, 16, 16, 3) and clip.frames.dtype == np.uint8
    assert numbers(clip.frames) == [clip.start + k for k in (0, 2, 4, 6)]


def test_the_order_of_the_catalog_changes_nothing(tmp_path):
    catalog = make_catalog(tmp_path)
    rule = replace(RULE, caption="random", frame_stride=(1, 2, 3))
    assert summary(catalog, rule) == summary(replace(catalog, videos=catalog.videos[::-1]), rule)


def test_a_video_is_cut_the_same_whatever_others_there_are(tmp_path):
    catalog = make_catalog(tmp_path)
    alone = summary(replace(catalog, videos=catalog.videos[3:4]), RULE)
    assert alone[0] in summary(catalog, RULE)


def test_a_smaller_count_is_a_prefix_and_another_seed_another_choice(tmp_path):
    catalog = make_catalog(tmp_path)
    whole = summary(catalog, RULE)
    assert len(whole) == 6 and summary(catalog, replace(RULE, count=2)) == whole[:2]
    orders = {tuple(v.id for v in ordered(catalog, seed)) for seed in range(20)}
    assert len(orders) > 10
    other = ordered(replace(catalog, name="ucf101"), 7)
    assert [v.id for v in other] != [v.id for v in ordered(catalog, 7)]


def test_starts_differ_between_seeds_and_between_the_clips_of_one_video(tmp_path):
    catalog = make_catalog(tmp_path, 1)
    clips = list(select_clips(catalog, replace(RULE, clips_per_video=5)))
    assert [c.id for c in clips] == ["v0", "v0#1", "v0#2", "v0#3", "v0#4"]
    assert {c.video for c in clips} == {"v0"} and len({c.start for c in clips}) > 2
    assert len({next(select_clips(catalog, replace(RULE, seed=s)).clips).start for s in range(20)}) > 5


def test_videos_of_one_length_do_not_start_at_one_frame(tmp_path):
    path = numbered(tmp_path / "v.avi")
    catalog = Catalog("folder", tmp_path, tuple(Video(f"v{k}", path) for k in range(8)))
    assert len({clip.start for clip in select_clips(catalog, RULE)}) > 3


def test_a_bad_video_is_set_aside_and_the_next_takes_its_place(tmp_path):
    catalog = make_catalog(tmp_path)
    expected = [v.id for v in ordered(catalog, RULE.seed)]
    (tmp_path / f"{expected[1]}.avi").write_bytes(b"")
    selection = select_clips(catalog, replace(RULE, count=3))
    assert [clip.id for clip in selection] == [expected[0], expected[2], expected[3]]
    assert [(bad.id, bad.reason) for bad in selection.set_aside] == [(expected[1], "empty file (0 bytes)")]
    assert selection.notes == []


def test_too_few_clips_are_noted(tmp_path):
    selection = select_clips(make_catalog(tmp_path, 2), replace(RULE, count=3, frames=12, too_short="loop"))
    assert len(list(selection)) == 2
    assert selection.notes == ["2 clips where 3 were asked for"]


def test_prompts_follow_the_rule(tmp_path):
    catalog = make_catalog(tmp_path, 1)
    (video,) = catalog.videos
    said = {rule: prompt(catalog, video, 0, replace(RULE, caption=rule)) for rule in ("class_name", "first", "none")}
    assert said == {"class_name": "class one", "first": "caption 0", "none": ""}
    drawn = {prompt(catalog, video, 0, replace(RULE, caption="random", seed=seed)) for seed in range(20)}
    assert drawn == {"caption 0", "other 0"}
    with pytest.raises(ValueError, match=r"'v0' of folder has no class. Allowed for it: first, random, none"):
        prompt(catalog, replace(video, label=None), 0, replace(RULE, caption="class_name"))


def test_clips_without_a_caption_are_counted(tmp_path):
    catalog = make_catalog(tmp_path, 2)
    bare = replace(catalog, videos=(replace(catalog.videos[0], captions=()), catalog.videos[1]))
    selection = select_clips(bare, RULE)
    assert sorted(clip.prompt for clip in selection) == ["", "caption 1"]
    assert selection.notes == ["1 of 2 clips have no caption: their prompt is empty"]


def test_decoding_does_not_change_the_drawn_caption(tmp_path):
    catalog = make_catalog(tmp_path, 6)
    rule = replace(RULE, caption="random")
    one = {c.id: c.prompt for c in select_clips(catalog, rule)}
    other = {c.id: c.prompt for c in select_clips(catalog, replace(rule, frame_stride=(1, 2), start="center"))}
    assert one == other


@pytest.mark.parametrize("wrong", [{"count": 0}, {"height": 0}, {"frames": 0}, {"frame_stride": ()}, {"start": "end"}])
def test_wrong_rules_are_refused(wrong):
    with pytest.raises(ValueError, match=r"1 or more|Known"):
        replace(RULE, **wrong)


def test_duplicate_ids_are_refused_by_name(tmp_path):
    twice = (Video("a", tmp_path / "x/a.avi"), Video("a", tmp_path / "y/a.avi"))
    with pytest.raises(ValueError, match=r"'a' names .*x/a.avi and .*y/a.avi"):
        Catalog("folder", tmp_path, twice)


def test_draws_depend_on_every_name_and_on_the_seed():
    draws = [generator(*names).random() for names in [(0, "a", "b"), (0, "ab"), (1, "a", "b"), (0, "a", "b", 1)]]
    assert len(set(draws)) == 4
    assert generator(0, "a", "b").random() == draws[0]
    assert digest(0, "\udcff") != digest(0, "\udcfe")  # bytes that are not UTF-8 are names too


def test_a_frame_of_the_right_height_is_only_cropped():
    frame = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit_frame(frame, 32, 32), frame[:, 4:36])


@pytest.mark.parametrize("size", [(240, 320), (320, 240), (17, 31), (576, 1024), (33, 33)])
@pytest.mark.parametrize("target", [(256, 256), (320, 512), (32, 32)])
def test_the_resized_frame_covers_the_target_and_keeps_its_aspect(size, target):
    h, w = covering_size(*size, *target)
    assert h >= target[0] and w >= target[1] and (h == target[0] or w == target[1])
    assert abs(h / w - size[0] / size[1]) < 0.51 * (h / w) * (1 / h + 1 / w)
    assert fit(np.zeros((2, *size, 3), np.uint8), *target).shape == (2, *target, 3)


def test_the_centre_is_kept():
    frame = np.zeros((20, 60, 3), np.uint8)
    frame[:, 25:35] = 255
    assert (fit_frame(frame, 10, 10)[:, 3:7] > 200).all()


def test_shrinking_is_antialiased():
    """One-pixel checks average to grey; without antialias they would stay black or white."""
    checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    small = fit_frame(np.repeat(checks[..., None], 3, axis=2), 16, 16)
    assert abs(small.astype(int) - 127).max() < 20


def test_a_strip_is_cut_before_it_would_be_made_enormous(monkeypatch):
    ramp = np.linspace(0, 255, 3000).astype(np.uint8)
    strip = np.repeat(np.repeat(ramp[:, None, None], 3, axis=1), 3, axis=2)  # 3000 x 3
    whole = fit_frame(strip, 32, 32)
    monkeypatch.setattr("datasets.transforms.MOST_PIXELS", 32 * 1000)
    assert middle(strip, 32, 32).shape[0] < 30
    assert np.abs(fit_frame(strip, 32, 32).astype(int) - whole).max() <= 1
    assert middle(strip[:100], 32, 32).shape[0] < 30 and middle(strip[:30], 32, 32).shape == (30, 3, 3)
