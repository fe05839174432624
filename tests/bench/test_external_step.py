"""Step `external`: a tiny random pipeline animates clips; restarts, notes, and pipelines that changed meanwhile."""

import importlib.util
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bench.fingerprint import FileHashes
from bench.steps import external
from bench.systems import open_pipeline
from bench.work import Work
from tests.fixtures.tiny_systems import save

NEEDED = [name for name in ("diffusers", "transformers") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(NEEDED), reason=f"not installed: {', '.join(NEEDED)}")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    return save("i2vgen-xl", tmp_path_factory.mktemp("pipeline") / "i2v")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    frames = np.random.default_rng(0).integers(0, 255, (4, 5, 32, 32, 3), dtype=np.uint8)
    save_file({"frames": frames}, folder / "clips.safetensors")
    items = [{"id": f"v{k}", "prompt": "a dog", "fps": 24.0, "frame_stride": 3} for k in range(4)]
    items[1] |= {"fps": None, "prompt": "a prompt of many more letters than it reads"}
    (folder / "items.json").write_text(json.dumps(items))
    return folder


def work(pipeline: Path, clips: Path, place: Path, seed: int = 0, count: int = 3) -> Work:
    given = open_pipeline("i2vgen-xl", pipeline, FileHashes())
    assert given.pipeline is not None and given.rules is not None
    config = {
        "system": "i2vgen-xl",
        "rules": json.loads(json.dumps(asdict(given.rules))),
        "sampler": {"steps": 2, "size": "asked", "time": "as_made"},
        "words": dict(given.adapter.words),
        "content": given.pipeline.digest,
        "seed": seed,
        "dataset": "ucf101",
        "count": count,
    }
    out, scratch = place / "out", place / "scratch"
    out.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(exist_ok=True)
    return Work(config, {"model": pipeline, "clips": clips}, out, scratch)


def frames_of(one: Work) -> np.ndarray:
    return load_file(one.out / "frames.safetensors")["frames"]


@pytest.fixture(scope="module")
def done(pipeline, clips, tmp_path_factory) -> Work:
    one = work(pipeline, clips, tmp_path_factory.mktemp("done"))
    external.run(one)
    return one


def test_each_item_that_counts_gives_a_clip(done):
    assert frames_of(done).shape == (3, 5, 32, 32, 3)
    assert [item["id"] for item in json.loads((done.out / "items.json").read_text())] == ["v0", "v1", "v2"]


def test_what_was_done_is_noted(done):
    notes = json.loads((done.out / "notes.json").read_text())
    assert notes[0] == "I2VGen-XL: 2 steps, guidance scale 9.0, clip skip None"
    assert "the system is told 8 to 16 frames per second; a clip has 8 to 16" in notes
    assert any("clip_skip is None" in note for note in notes)
    assert "1 sources do not say how fast they play: taken as 16 frames per second" in notes
    assert "1 prompts are longer than the system reads and were cut, as: a prompt of many more letters" in notes[-1]


def test_a_clip_depends_on_its_own_seed_and_nothing_else(done, pipeline, clips, tmp_path):
    fewer = work(pipeline, clips, tmp_path / "fewer", count=2)
    external.run(fewer)
    np.testing.assert_array_equal(frames_of(fewer), frames_of(done)[:2])
    other = work(pipeline, clips, tmp_path / "other", seed=1, count=2)
    external.run(other)
    assert (frames_of(other) != frames_of(done)[:2]).mean() > 0.5


def test_a_restart_takes_up_what_was_made(done, pipeline, clips, tmp_path, monkeypatch):
    again = work(pipeline, clips, tmp_path)
    made = []
    sample = external.System.sample

    def counted(self, *words):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(words)
        return sample(self, *words)

    monkeypatch.setattr(external.System, "sample", counted)
    with pytest.raises(KeyboardInterrupt):
        external.run(again)
    kept = sorted(path.name for path in again.scratch.iterdir())
    assert kept == ["000000-000000.safetensors", "000001-000001.safetensors"]
    made.clear()
    shutil.rmtree(again.out)  # a step that starts again finds an empty folder
    again.out.mkdir()
    external.run(again)
    assert len(made) == 1, "only the clip that was not made yet"
    for name in ("frames.safetensors", "items.json", "notes.json"):
        assert (again.out / name).read_bytes() == (done.out / name).read_bytes(), name


def test_a_pipeline_that_changed_after_the_plan_is_refused(clips, tmp_path):
    folder = save("i2vgen-xl", tmp_path / "i2v")
    one = work(folder, clips, tmp_path)
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(ValueError, match="changed after the plan was made"):
        external.run(one)
