"""What cannot be right is stopped or marked: each guard fires on what it is for, and on nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from bench.assemble import Finished, assemble
from bench.fingerprint import FileHashes
from bench.guards import check_same_measurement, likeness, training
from bench.metrics.features import Sample, read_sample, write_sample
from bench.planner import build_plan
from bench.profile import load_profile
from bench.runner import Options, prepare
from bench.sources import find_sources
from bench.steps import alike, score
from bench.store import Store
from bench.work import Work
from datasets.catalog import check_disjoint, open_catalog

RNG = np.random.default_rng(0)


# ---- generated videos ----


def clips(count: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 8, 8, 3), dtype=np.uint8)


def looked(tmp_path: Path, generated: np.ndarray, reference: np.ndarray) -> dict:
    for role, name, frames in (("generated", "frames", generated), ("reference", "clips", reference)):
        (tmp_path / role).mkdir()
        save_file({"frames": frames}, tmp_path / role / f"{name}.safetensors")
        items = [{"id": f"v{k}"} for k in range(len(frames))]
        (tmp_path / role / "items.json").write_text(json.dumps(items))
    work = Work({"count": len(reference)}, {r: tmp_path / r for r in ("generated", "reference")}, tmp_path, tmp_path)
    alike.run(work)
    return json.loads((tmp_path / "alike.json").read_text())


def test_videos_of_their_own_are_sound(tmp_path: Path) -> None:
    made, real = clips(seed=1), clips(seed=2)
    made[:, 0] = real[:, 0]  # the condition frame may be there
    assert likeness(looked(tmp_path, made, real), 4).all == []


def test_videos_that_are_all_the_same_are_not_comparable(tmp_path: Path) -> None:
    made = np.repeat(clips(1, seed=1), 4, axis=0)
    words = likeness(looked(tmp_path, made, clips(seed=2)), 4)
    assert words.all == ["not comparable: all 4 videos are equal to the bit, whatever their input"] and not words.sound


def test_two_equal_videos_are_a_note(tmp_path: Path) -> None:
    made = clips(seed=1)
    made[3] = made[1]
    words = likeness(looked(tmp_path, made, clips(seed=2)), 4)
    assert words.sound and words.notes == ["1 groups of videos are equal to the bit: v1 = v3"]


def test_a_reference_frame_beyond_the_condition_is_not_comparable(tmp_path: Path) -> None:
    made, real = clips(seed=1), clips(seed=2)
    made[2, 1] = real[0, 2]
    words = likeness(looked(tmp_path, made, real), 4)
    assert words.reasons == [
        "1 videos have frames after the first that are, to the bit, frames of a reference clip: v2"
    ]


def test_videos_that_do_not_move_are_a_note(tmp_path: Path) -> None:
    made = np.repeat(clips(seed=1)[:, :1], 3, axis=1)
    words = likeness(looked(tmp_path, made, clips(seed=2)), 4)
    assert words.sound and words.notes[0].startswith(
        "4 videos do not move, every frame equals the first: v0, v1, v2 and"
    )


# ---- what a run says of them ----


def test_a_run_puts_it_on_the_records_and_spares_the_baselines(done: Path) -> None:
    """The toy store, with what the step that looks left replaced by a finding."""
    prepared = prepare(Options(specs=(Path("question.yaml"),), profile="./profile.yaml"))
    plan, store = prepared.plan, Store(done / "runs" / "store")
    look = plan.variants["question", "full"].scored["ucf101", 1].look
    assert look is not None
    assert all(scored.look is None for e in plan.evaluation.values() for scored in e.baselines.values())
    store.remove(look.kind, look.fingerprint)
    temporary = store.begin(look.fingerprint)
    found = {"copied": ["v1"], "close": [], "still": [], "twins": [], "inputs": []}
    (temporary / "alike.json").write_text(json.dumps(found))
    store.commit(look.kind, look.fingerprint, temporary, {}, {"seconds": 0.0})
    run = Finished(plan, store, done / "again")
    assemble(run, {}, {})
    marked = {
        (r.variant, r.dataset, r.seed) for r in run.records if any("frames of a reference clip" in n for n in r.notes)
    }
    assert marked == {("full", "ucf101", 1), ("full", "ucf101", None)}
    assert not any(r.comparable for r in run.records if (r.variant, r.dataset, r.seed) in marked)


# ---- training ----


def curve(**changes: dict[int, float]) -> list[dict[str, float]]:
    lines = [{"step": k, "loss": 1.0 - k / 100, "grad_norm": 1.0 + k % 3} for k in range(1, 21)]
    for key, values in changes.items():
        for step, value in values.items():
            lines[step - 1][key] = value
    return lines


def test_an_exploded_gradient_and_a_risen_loss_are_told() -> None:
    assert training(curve()) == [] == training(curve(grad_norm={7: 50.0}))
    (words,) = training(curve(grad_norm={7: 900.0}))
    assert words == "the gradient exploded: norm 900 at step 7, 2 is usual (clipped)"
    (words,) = training(curve(loss=dict.fromkeys(range(14, 21), 40.0)))
    assert words == "the loss rose from 0.97 to 40: what was trained is worse than its start"
    assert training(curve()[:3]) == []  # of so few lines none is usual


# ---- measured alike ----


def artifact(folder: Path, network: str = "tiny-i3d", weights: str = "a" * 64, **video: object) -> Path:
    folder.mkdir()
    told = {"config": {"video": {"network": network, "input": "as_made", "bytes": "as they are", **video}},
            "inputs": {"classifier": weights, "clips": str(folder)}}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(told))
    ids = tuple(f"v{k}" for k in range(8))
    write_sample(folder, Sample(RNG.normal(size=(8, 4)), np.zeros((8, 0)), ids, (None,) * 8))
    return folder


OTHERS = {
    "network": {"network": "i3d-k400"},
    "preprocessing": {"input": "squash"},
    "weights": {"weights": "b" * 64},
    "epsilon": {"eps": 1e-5},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_reference_of_another_protocol_stops_the_score(tmp_path: Path, monkeypatch, other: dict) -> None:
    generated = artifact(tmp_path / "g")
    protocol = {"name": "tiny/v1", "values": {"feature": "tiny-i3d"}}
    check_same_measurement(generated, artifact(tmp_path / "same", bytes="cut"), protocol)
    reference = artifact(tmp_path / "other", **other)
    monkeypatch.setattr("bench.steps.score.Scoring.read", lambda config: None)
    with pytest.raises(ValueError, match="one of them belongs to another protocol"):
        score.run(Work({"protocol": protocol}, {"generated": generated, "reference": reference}, tmp_path, tmp_path))
    with pytest.raises(ValueError, match=r"measured with 'tiny-i3d'; protocol tiny/v1: 'i3d-k400'"):
        check_same_measurement(generated, tmp_path / "same", {**protocol, "values": {"feature": "i3d-k400"}})


def test_features_of_another_protocol_have_another_fingerprint(toy: Path) -> None:
    """So a cached reference can only be one that was measured in the very same way."""
    prepared = prepare(Options(specs=(Path("question.yaml"),), profile="./profile.yaml"))
    plan = prepared.plan
    config = {**plan.protocol.config, "values": {**plan.protocol.config["values"], "feature_input": "another"}}
    other = build_plan(plan.questions, plan.profile, plan.sources, replace(plan.protocol, config=config))
    mine, theirs = (one.evaluation["ucf101"].reference.fingerprint for one in (plan, other))
    assert mine != theirs


def test_ids_that_come_twice_stop_the_score(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "g")
    items = json.loads((folder / "items.json").read_text())
    items[3]["id"] = items[5]["id"]
    (folder / "items.json").write_text(json.dumps(items))
    with pytest.raises(ValueError, match="1 ids come more than once, as 'v5'"):
        read_sample(folder)


def test_features_that_are_no_numbers_stop_the_score(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "g")
    features = RNG.normal(size=(8, 4))
    features[2, 1] = np.nan
    save_file({"features": features, "conformity": np.zeros((8, 0))}, folder / "features.safetensors")
    with pytest.raises(ValueError, match=r"g: .*finite"):
        read_sample(folder)


# ---- training videos in an evaluation set ----


def videos(root: Path, **contents: bytes) -> Path:
    root.mkdir()
    for name, content in contents.items():
        (root / f"{name}.mp4").write_bytes(content)
    return root


def test_a_training_video_in_an_evaluation_set_stops_the_plan_also_under_another_name(tmp_path: Path) -> None:
    train = videos(tmp_path / "train", a=b"one video", b=b"another!!", c=b"")
    clean = videos(tmp_path / "clean", d=b"not these", e=b"")
    dirty = videos(tmp_path / "dirty", d=b"not these", renamed=b"another!!")
    profile, hashes = load_profile("smoke"), FileHashes()
    find_sources(profile, {"train": train, "msrvtt": clean}, {}, hashes)
    with pytest.raises(
        Exception, match=r"share 1 items, the first: file .*b\.mp4 and .*renamed\.mp4 \(equal content\)"
    ):
        find_sources(profile, {"train": train, "msrvtt": dirty}, {}, hashes)


def test_only_files_of_equal_size_are_read(tmp_path: Path) -> None:
    train = open_catalog("folder", videos(tmp_path / "train", a=b"short"))
    evaluation = open_catalog("folder", videos(tmp_path / "eval", b=b"longer than that"))
    check_disjoint(train, evaluation, lambda path: pytest.fail(f"read {path}"))
