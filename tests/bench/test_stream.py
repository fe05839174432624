"""Training from shards: the same bytes after a kill, whoever asks for which micro-batch; bad videos by name."""

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import stream as stream_module
from bench import train as loop
from bench.cli import main
from bench.errors import UsageError
from bench.graph import Step
from bench.local_engine import LocalEngine
from bench.progress import Display
from bench.ranks import Ranks
from bench.runner import Options, Prepared, prepare
from bench.steps import train as step_train
from bench.store import Store
from bench.stream import Decoder, Streamed, Streaming, as_file
from bench.work import Work
from bench.worker import perform
from datasets.clip import Catalog, Video
from datasets.decode import probe
from datasets.lanes import Lane
from datasets.make_shards import Making, make_shards
from datasets.select import ClipRule, draw_clip
from datasets.shards import Sample
from datasets.webvid import read
from datasets.world import WorldConfig, write_world
from tests.fixtures.crew import crew

pytest.importorskip("webdataset", reason="the extra [shards] is not installed")
ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "ablations" / "dual_stream.yaml"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stream") / "w"
    sizes = WorldConfig(train_videos=14, ucf101_groups=8, ucf101_clips=1, msrvtt_videos=4, min_frames=20, max_frames=36)
    write_world(root, sizes, seed=5)
    return root


@pytest.fixture(scope="module")
def shards(world: Path) -> Path:
    out = world.parent / "shards"
    make_shards(Making(sorted((world / "train").glob("*.csv")), world / "train", out, size=4))
    return out


@pytest.fixture(scope="module")
def prepared(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The smoke profile with two micro-batches in a step; half of the videos are too short for its clips."""
    folder = tmp_path_factory.mktemp("profile")
    text = (ROOT / "ablations" / "profiles" / "smoke.yaml").read_text()
    text = text.replace("micro_batch: 4", "micro_batch: 2").replace("i: {steps: 2}", "i: {steps: 5}", 1)
    text = text.replace("train_strides: [3]", "train_strides: [4]") + "stream: {window: 3}\n"
    (folder / "small.yaml").write_text(text.replace(": weights/", f": {ROOT}/weights/"))
    return planned(folder, f"train={shards}")


def planned(folder: Path, *data: str) -> Prepared:
    return prepare(Options((SPEC,), str(folder / "small.yaml"), store=folder / "store", data=data))


def stage_one(prepared: Prepared) -> Step:
    return next(s for s in prepared.plan.graph if s.kind == "train" and s.config["stage"] == "i")


def done(step: Step, folder: Path) -> Path:
    """The artifact of one step, made in this process."""
    store = Store(folder)
    store.part("locks")
    engine = LocalEngine(store, 1, ["cpu"], 1, Display(1, stream=io.StringIO()))
    perform(engine.task(step), store, "cpu", 1, lambda *told: None)
    return store.folder(step.kind, step.fingerprint)


def opened(step: Step, folder: Path, **changes: object) -> Streamed:
    """The stream of a step, as its body opens it."""
    folder.mkdir()
    inputs = {role: source.path for role, source in step.inputs.items()}  # type: ignore[union-attr]
    work = Work({**step.config, **step.local}, inputs, folder, folder)
    settings = replace(step_train.settings_from(work.config), **changes)  # type: ignore[arg-type]
    return Streaming.open(work).source(settings, timesteps=1000, ends=False)


def test_a_plan_with_shards_neither_decodes_nor_encodes_the_training_set(prepared: Prepared) -> None:
    graph, step = prepared.plan.graph, stage_one(prepared)
    assert {s.label for s in graph if s.kind in {"clips", "encode"}} == {
        f"{kind} {name}" for kind in ("clips", "encode") for name in ("ucf101", "msrvtt")
    }
    assert set(step.inputs) == {"shards", "vae", "clip", "parent"}
    assert step.config["stream"]["window"] == 3 and step.config["stream"]["rule"]["frame_stride"] == [4]


def test_a_killed_stage_ends_with_the_bytes_of_an_undisturbed_one(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = stage_one(prepared)
    whole = done(step, tmp_path / "a")
    original = loop.Stage.step
    killed: list[int] = []

    def dies_in_step_three(stage: loop.Stage) -> loop.Line:
        if stage.done == 2 and not killed:
            killed.append(stage.done)
            raise KeyboardInterrupt
        return original(stage)

    monkeypatch.setattr(loop.Stage, "step", dies_in_step_three)
    with pytest.raises(KeyboardInterrupt):
        done(step, tmp_path / "b")
    resumed = done(step, tmp_path / "b")
    assert killed == [2]
    names = {"model.safetensors", "curve.jsonl", "summary.json", "set_aside.json"}
    assert all((whole / name).read_bytes() == (resumed / name).read_bytes() for name in names)
    aside = json.loads((whole / "set_aside.json").read_text())
    assert aside and all("too short" in item["reason"] for item in aside)


def as_a_rank(ranks: Ranks, config: dict[str, Any], inputs: dict[str, Path], folder: Path) -> list[int]:
    """Does the step with others; returns the lanes that this rank has read."""
    opened: list[int] = []

    class Seen(Decoder):
        def __init__(self, data: Streaming, lane: Lane) -> None:
            super().__init__(data, lane)
            opened.append(lane.number)

    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_module, "Decoder", Seen)
        step_train.run(Work(config, inputs, folder / "out", folder / "scratch", ranks=ranks))
    return opened


def test_two_ranks_read_a_lane_each_and_leave_the_bytes_of_one(prepared: Prepared, tmp_path: Path) -> None:
    step = stage_one(prepared)
    whole = done(step, tmp_path / "alone")
    inputs = {role: source.path for role, source in step.inputs.items()}  # type: ignore[union-attr]
    lanes = crew(2, as_a_rank, {**step.config, **step.local}, inputs, tmp_path / "two")
    assert lanes == [[0], [1]]
    for name in ("model.safetensors", "curve.jsonl", "set_aside.json"):
        assert (whole / name).read_bytes() == (tmp_path / "two" / "out" / name).read_bytes(), name


def test_videos_that_are_too_short_are_named_and_others_stand_in(
    prepared: Prepared, world: Path, tmp_path: Path
) -> None:
    stream = opened(stage_one(prepared), tmp_path / "s", steps=12)
    for step in range(12):
        for number in (0, 1):
            stream.micro(step, number)
    stream.close()
    told = {k: v for file in (tmp_path / "s").glob("set_aside.*.json") for k, v in json.loads(file.read_text()).items()}
    short = {v.id for v in read(world / "train").videos if probe(v.path).frames < 29}
    assert set(told) == short and 0 < len(short) < 14, "in twelve steps every video has come"


def test_a_micro_batch_depends_on_its_step_and_number_alone(prepared: Prepared, tmp_path: Path) -> None:
    step = stage_one(prepared)
    stream = opened(step, tmp_path / "a")
    inorder = {(k, n): stream.micro(k, n) for k in range(5) for n in (0, 1)}
    again = stream.micro(1, 1)  # back again: what other ranks have to do
    stream.close()
    other = opened(step, tmp_path / "b")  # a rank that computes the second micro-batch alone, and begins late
    late = {(k, 1): other.micro(k, 1) for k in (3, 4)}
    assert list(other._decoders) == [1], "no other lane is read"
    other.close()
    for key, (batch, draws) in {**late, (1, 1): again}.items():
        assert torch.equal(batch.latent, inorder[key][0].latent) and torch.equal(draws.noise, inorder[key][1].noise)
    assert not torch.equal(inorder[0, 0][0].latent, inorder[0, 1][0].latent)
    assert not torch.equal(inorder[0, 0][0].latent, inorder[1, 0][0].latent)


def real() -> list[Path]:
    folder = os.environ.get("BENCH_TEST_DATA")
    return sorted(Path(folder, "webvid").rglob("*.mp4"))[:1] if folder else []


def test_a_clip_out_of_a_shard_is_the_clip_of_the_file(world: Path) -> None:
    rule = ClipRule(8, 2, 32, 32)
    for path in [*sorted((world / "train").rglob("*.mp4"))[:2], *real()]:
        video = Video("v", path, ("a caption",))
        with as_file(Sample(video, path.read_bytes())) as held:
            found = draw_clip(Catalog("shards", world, ()), replace(video, path=held), 3, rule)
        expected = draw_clip(Catalog("shards", world, ()), video, 3, rule)
        assert np.array_equal(found.frames, expected.frames) and found.start == expected.start
        assert found.prompt == "a caption" and not held.exists()


def test_variants_and_seeds_share_and_do_not_share_the_order(prepared: Prepared, tmp_path: Path) -> None:
    step = stage_one(prepared)
    clips = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        stream = opened(step, tmp_path / name, seed=seed)
        clips[name] = [clip.id for k in range(4) for clip in stream._decoded(k, 0)]
        stream.close()
    assert clips["a"] == clips["b"] != clips["c"]


def test_a_changed_manifest_is_another_training(prepared: Prepared, shards: Path, tmp_path: Path) -> None:
    step = stage_one(prepared)
    changed = {**step.config["stream"], "content": "0" * 64}
    inputs = {role: source.path for role, source in step.inputs.items()}  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="changed after the plan was made"):
        Streaming.open(Work({**step.config, "stream": changed}, inputs, tmp_path, tmp_path))


def test_an_evaluation_video_in_the_shards_stops_the_plan(prepared: Prepared, world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    evaluation = next((world / "ucf101").rglob("*.avi"))
    (folder / "renamed.mp4").write_bytes(evaluation.read_bytes())
    (folder / "list.csv").write_text("videoid,name,page_dir\nrenamed,a video,\n")
    make_shards(Making([folder / "list.csv"], folder, tmp_path / "shards"))
    profile = Path(str(prepared.plan.profile.name))
    assert profile.name == "small"
    text = (ROOT / "ablations" / "profiles" / "smoke.yaml").read_text()
    (tmp_path / "small.yaml").write_text(text.replace(": weights/", f": {ROOT}/weights/"))
    with pytest.raises(UsageError, match=r"share video renamed: .*equal content"):
        planned(tmp_path, f"train={tmp_path / 'shards'}", f"ucf101={world / 'ucf101'}")


def test_other_captions_of_a_stream_are_refused(shards: Path, tmp_path: Path) -> None:
    text = (ROOT / "ablations" / "profiles" / "smoke.yaml").read_text()
    (tmp_path / "small.yaml").write_text(text.replace(": weights/", f": {ROOT}/weights/"))
    spec = SPEC.read_text().replace("model.context: none", "train.captions: motion", 1)
    (tmp_path / "spec.yaml").write_text(spec)
    with pytest.raises(UsageError, match=r"train\.captions is 'motion': not with --data train=.*streamed"):
        prepare(Options((tmp_path / "spec.yaml",), str(tmp_path / "small.yaml"), data=(f"train={shards}",)))


def test_the_command_makes_shards_and_says_what_it_left_out(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = str(next((world / "train").glob("*.csv")))
    command = ["shards", table, "--videos", str(world / "train"), "--out", str(tmp_path / "s"), "--size", "5"]
    assert main(command) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 's'}: 14 videos in 3 shards; 0 videos set aside, 0 missing\n"
    assert main(["check", "data", f"shards={tmp_path / 's'}"]) == 0
    assert capsys.readouterr().out == "14 videos in 3 shards: 0 damaged\n"
    tar = tmp_path / "s" / "shard-000001.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[:-600] + b"x" + whole[-599:])
    assert main(["check", "data", f"shards={tmp_path / 's'}"]) == 1
    assert "damaged    shard-000001.tar: " in capsys.readouterr().out
    tar.write_bytes(whole)
    assert main([*command, "--quiet"]) == 0
    assert "3 shards (3 were there)" in capsys.readouterr().out
    for words, change in (
        ("there is no such file", ["shards", "no.csv", *command[2:]]),
        ("--size is 0", [*command[:-1], "0"]),
        ("--check is 'maybe'. Known: frames, header", [*command, "--check", "maybe"]),
    ):
        assert main(change) == 2 and words in capsys.readouterr().err
