"""The steps `collect`, `pictures` and `alike`, on videos made here."""

import json

import numpy as np
import pytest

from bench.fingerprint import digest, sha256_file
from bench.steps import alike, collect, pictures
from bench.work import Work
from datasets.framefile import FramesWriter, read_frames
from tests.bench.scoring.made import levels, noise, picture, steps, touch, video

SHAPE = {"frames": 8, "height": 16, "width": 24, "short": "set_aside"}


def work(tmp_path, config, name="out", scratch="scratch", **inputs):
    out, scratch = tmp_path / name, tmp_path / scratch
    out.mkdir(exist_ok=True)
    scratch.mkdir(exist_ok=True)
    return Work(config=config, inputs=inputs, out=out, scratch=scratch)


def config(paths, **more):
    items = [
        {"id": name, "name": f"{name}.mkv", "prompt": "", "content": digest([sha256_file(path)])}
        for name, path in paths.items()
    ]
    return {
        "items": items,
        "shape": SHAPE,
        "files": {n: {"path": str(p), "pictures": []} for n, p in paths.items()},
    } | more


def videos(tmp_path, *names, frames=10):
    return {name: video(tmp_path / f"v/{name}.mkv", np.roll(steps(frames), -k, 0)) for k, name in enumerate(names)}


def clips(folder, items, frames, name="clips.safetensors"):
    folder.mkdir()
    with FramesWriter(folder / name) as writer:
        for clip in frames:
            writer.append(clip)
    (folder / "items.json").write_text(json.dumps(items))
    return folder


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_collect_takes_every_video_and_says_what_it_was(tmp_path):
    job = work(tmp_path, config(videos(tmp_path, "a", "b")))
    collect.run(job)
    assert [levels(clip) for clip in read_frames(job.out / collect.FRAMES)] == [list(range(8)), list(range(1, 9))]
    first = read(job.out, "items.json")[0]
    assert (first["id"], first["source_frames"], first["codec"], first["lossless"]) == ("a", 10, "ffv1", True)
    assert read(job.out, "matching.json") == {"missing": [], "extra": []}


def test_collect_follows_the_reference_and_names_what_is_missing_or_extra(tmp_path):
    asked = [{"id": n, "prompt": f"{n}!", "group": f"g{n}", "label": None} for n in ("c", "z", "a", "b")]
    real = clips(tmp_path / "real", asked, [steps(8)] * 4)
    job = work(tmp_path, config(videos(tmp_path, "a", "b", "c"), count=3), reference=real)
    collect.run(job)
    items = read(job.out, "items.json")
    assert [(item["id"], item["group"], item["prompt"]) for item in items] == [("c", "gc", "c!"), ("a", "ga", "a!")]
    assert read(job.out, "matching.json") == {"missing": ["z"], "extra": ["b.mkv"]}


def test_collect_without_a_match_says_both_sides(tmp_path):
    real = clips(tmp_path / "real", [{"id": "x"}], [steps(8)])
    with pytest.raises(ValueError, match=r"none of the 1 videos is one of the 1 of the reference: a\.mkv against x"):
        collect.run(work(tmp_path, config(videos(tmp_path, "a"), count=1), reference=real))


def test_collect_sets_bad_videos_aside_and_fails_when_none_is_left(tmp_path):
    paths = videos(tmp_path, "a", "short", frames=10) | {"short": video(tmp_path / "v/short.mkv", steps(3))}
    job = work(tmp_path, config(paths))
    collect.run(job)
    (bad,) = read(job.out, "set_aside.json")
    assert (bad["id"], bad["path"], bad["reason"]) == ("short", "short.mkv", "too short: 3 frames, 8 needed")
    assert [item["id"] for item in read(job.out, "items.json")] == ["a"]
    with pytest.raises(ValueError, match=r"no video is left of 1: short\.mkv: too short"):
        collect.run(work(tmp_path, config({"short": paths["short"]}), "other", "other scratch"))


def test_collect_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "PART", 1)
    paths = videos(tmp_path, "a", "b")
    job, taken, real_take = work(tmp_path, config(paths)), [], collect.take

    def dies(path, *rest):
        taken.append(path.stem)
        if taken == ["a", "b"]:
            raise KeyboardInterrupt
        return real_take(path, *rest)

    monkeypatch.setattr(collect, "take", dies)
    with pytest.raises(KeyboardInterrupt):
        collect.run(job)
    again = work(tmp_path, config(paths), name="again")
    collect.run(again)
    assert taken == ["a", "b", "b"]
    assert [item["id"] for item in read(again.out, "items.json")] == ["a", "b"]
    whole = work(tmp_path, config(paths), name="whole")
    for file in whole.scratch.iterdir():
        file.write_bytes(b"cut short")
    collect.run(whole)
    assert (whole.out / collect.FRAMES).read_bytes() == (again.out / collect.FRAMES).read_bytes()


def test_a_file_that_changed_after_the_plan_is_refused(tmp_path):
    paths = videos(tmp_path, "a")
    job = work(tmp_path, config(paths))
    video(paths["a"], steps(9))
    with pytest.raises(ValueError, match="changed after the plan was made"):
        collect.run(job)


def inputs_of(paths):
    items = [{"id": name, "content": digest([sha256_file(path)])} for name, path in paths.items()]
    return {"items": items, "height": 16, "width": 24, "files": {n: str(p) for n, p in paths.items()}}


def test_pictures_are_fitted_and_kept_by_id(tmp_path):
    paths = {"a": picture(tmp_path / "a.png", steps(3)[2]), "b": picture(tmp_path / "b.jpg", steps(3, 32, 48)[1])}
    job = work(tmp_path, inputs_of(paths))
    pictures.run(job)
    frames = read_frames(job.out / pictures.FRAMES)
    assert (frames.shape, [levels(clip)[0] for clip in frames]) == ((2, 1, 16, 24, 3), [2, 1])
    assert [item["id"] for item in read(job.out, "items.json")] == ["a", "b"]


def test_pictures_that_cannot_be_read_are_named(tmp_path):
    bad = touch(tmp_path, "a.png", text="no picture") / "a.png"
    with pytest.raises(ValueError, match=r"1 input pictures cannot be read: a\.png of a"):
        pictures.run(work(tmp_path, inputs_of({"a": bad})))


def looked_at(tmp_path, generated, real=None, inputs=None):
    made = clips(tmp_path / "made", [{"id": n} for n in generated], generated.values(), "frames.safetensors")
    given = {"generated": made}
    if real is not None:
        given["reference"] = clips(tmp_path / "real", [{"id": n} for n in real], real.values())
    if inputs is not None:
        given["inputs"] = clips(tmp_path / "inputs", [{"id": n} for n in inputs], [p[None] for p in inputs.values()])
    job = work(tmp_path, {"count": 8}, **given)
    alike.run(job)
    return read(job.out, "alike.json")


def test_clips_that_look_as_they_should_not_are_flagged(tmp_path):
    real = {name: noise(seed, 8, 8, 8) for seed, name in enumerate("abcd")}
    moved = np.clip(real["b"].astype(int) + 1, 0, 255).astype(np.uint8)  # as a codec would
    copied = np.concatenate([noise(9, 7, 8, 8), real["c"][5:6]])
    generated = {
        "a": noise(7, 8, 8, 8),  # its own
        "b": moved,
        "c": copied,
        "d": np.repeat(real["d"][:1], 8, 0),
        "e": noise(7, 8, 8, 8),
    }
    found = looked_at(tmp_path, generated, real, {"a": real["a"][0], "b": real["c"][0]})
    assert found == {"copied": ["c"], "close": ["b"], "still": ["d"], "twins": [["a", "e"]], "inputs": ["b"]}


def test_a_still_reference_is_no_copy_and_nothing_to_follow(tmp_path):
    still = np.repeat(noise(0, 1, 8, 8), 8, 0)
    found = looked_at(tmp_path, {"a": still}, {"a": still})
    assert (found["copied"], found["close"], found["still"]) == ([], [], ["a"])


def test_without_a_reference_only_the_clips_themselves_are_looked_at(tmp_path):
    found = looked_at(tmp_path, {"a": noise(1, 8, 8, 8)}, None, {"a": noise(2, 1, 8, 8)[0]})
    assert found == {"copied": [], "close": [], "still": [], "twins": [], "inputs": []}
