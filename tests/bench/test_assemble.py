"""The run folder: which records, curves, notes and samples come out of finished steps."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from safetensors.numpy import save_file

from bench import samples
from bench.assemble import is_assembled
from bench.cli import main
from bench.previews import enlarge, first_clips, write_picture, write_video
from bench.runner import Options, prepare
from reports.record import from_line
from tests.bench.conftest import RUN


@pytest.fixture
def folder(done: Path) -> Path:
    return done / "runs" / "question-profile"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_for_each_variant_dataset_metric_and_seed(folder: Path) -> None:
    records = [from_line(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    of_variants = [(r.variant, r.dataset, r.metric, r.seed) for r in records if r.role == "variant"]
    assert len(of_variants) == len(set(of_variants)) == 3 * 2 * 3 * (2 + 1)
    baselines = {r.variant for r in records if r.role == "baseline"}
    assert baselines == {"real", "reconstruction", "static", "another", "text_to_video"}
    assert {r.question for r in records} == {"question"}
    assert {r.label for r in records if r.variant == "no_ctx"} == {"w/o ctx"}
    assert {r.world for r in records} == {"tiny"}
    full = next(r for r in records if r.variant == "full" and r.seed == 0)
    assert set(full.fingerprints) == {
        "clips", "score", "reference", "model", "vae", "clip", "classifier", "perceptual",
    }  # fmt: skip
    assert full.notes == (
        "4 of 2048 videos", "no split lists: all clips",
        "1 videos set aside: bad.avi (1 empty file)", "1 videos damaged, used: v0 (1 flagged corrupt)",
    )  # fmt: skip


def test_records_do_not_depend_on_workers_or_place(folder: Path, done: Path) -> None:
    assert main([*RUN[:-3], "--workers", "1", "--quiet", "--store", "elsewhere", "--out", "other"]) == 0
    for name in ("records.jsonl", "claims.jsonl", "curves.jsonl", "health.json"):
        assert (done / "other" / name).read_bytes() == (folder / name).read_bytes(), name
    text = (folder / "records.jsonl").read_text()
    assert str(done) not in text and "seconds" not in text


def test_records_are_real_when_the_data_are(done: Path) -> None:
    clip = done / "UCF-101" / "Archery"
    clip.mkdir(parents=True)
    (clip / "v_Archery_g01_c01.avi").write_bytes(b"video")
    assert main([*RUN, "--data", "ucf101=UCF-101"]) == 0
    records = lines(done / "runs" / "question-profile" / "records.jsonl")
    assert {(r["dataset"], r["world"]) for r in records} == {("ucf101", "real"), ("msrvtt", "tiny")}
    spec = json.loads((done / "runs" / "question-profile" / "spec.json").read_text())
    assert spec["data"]["ucf101"]["catalog"] == "ucf101"


def test_claims_and_curves_name_what_they_belong_to(folder: Path) -> None:
    claims = lines(folder / "claims.jsonl")
    assert [(c["question"], c["dataset"], c["better"]) for c in claims] == [
        ("question", "ucf101", ["full", "no_ctx"]), ("question", "msrvtt", ["full", "no_ctx"]),
    ]  # fmt: skip
    curves = lines(folder / "curves.jsonl")
    steps = {(c["variant"], c["stage"]) for c in curves if c["seed"] == 1}
    assert steps == {
        ("full", "i"), ("full", "ii"), ("full", "iii"), ("no_ctx", "ii"), ("no_ctx", "iii"),
        ("no_vdg", "i"), ("no_vdg", "ii"), ("no_vdg", "iii"),
    }  # fmt: skip
    assert sum(c["variant"] == "full" and c["seed"] == 0 for c in curves) == 2 + 3 + 4
    assert all(c["question"] == ["question"] for c in curves)


def test_health_names_every_odd_video(folder: Path) -> None:
    health = json.loads((folder / "health.json").read_text())
    assert {(h["dataset"], h["path"]) for h in health["set_aside"]} == {
        ("train", "bad.avi"), ("ucf101", "bad.avi"), ("msrvtt", "bad.avi"),
    }  # fmt: skip
    assert {(h["dataset"], h["id"]) for h in health["damaged"]} == {
        ("train", "v0"),
        ("ucf101", "v0"),
        ("msrvtt", "v0"),
    }
    assert "msrvtt: no split lists: all clips" in health["notes"]
    assert any(line.startswith("ucf101 fvd") for line in health["not_comparable"])


def test_samples_can_be_played_and_are_indexed(folder: Path) -> None:
    index = json.loads((folder / "samples" / "index.json").read_text())
    assert [(entry["dataset"], entry["n"]) for entry in index] == [
        ("ucf101", 0), ("ucf101", 1), ("msrvtt", 0), ("msrvtt", 1),
    ]  # fmt: skip
    assert set(index[0]["files"]) == {
        "condition", "real", "full", "no_ctx", "no_vdg", "reconstruction", "text_to_video",
    }  # fmt: skip
    assert index[0]["prompt"] == "<b>clip</b> 0"
    for name, path in index[0]["files"].items():
        assert (folder / path).is_file(), path
        if name != "condition":
            with av.open(str(folder / path)) as container:
                frames = list(container.decode(video=0))
            assert (len(frames), frames[0].width, frames[0].format.name) == (3, 128, "yuv420p")


def test_samples_are_kept_while_their_artifact_is_the_same(folder: Path, done: Path) -> None:
    kept = folder / "samples" / "ucf101" / "full" / "0.mp4"
    stale = folder / "samples" / "ucf101" / "gone"
    stale.mkdir()
    (stale / samples.SOURCE).write_text("of another run")
    before = kept.stat().st_mtime_ns
    (folder / "report.html").unlink()
    assert main(RUN) == 0
    assert kept.stat().st_mtime_ns == before
    assert not stale.exists()
    assert main([*RUN, "--seeds", "5"]) == 0
    assert kept.stat().st_mtime_ns != before


def test_another_plan_is_not_taken_for_this_one(folder: Path, done: Path) -> None:
    def plan(**changes: Any) -> Any:
        return prepare(Options(specs=(done / "question.yaml",), profile="./profile.yaml", **changes)).plan

    assert is_assembled(plan(), folder)
    assert not is_assembled(plan(samples=3), folder)
    assert not is_assembled(plan(), done / "nowhere")
    spec = done / "question.yaml"
    spec.write_text(spec.read_text().replace("w/o ctx", "without"))
    assert not is_assembled(plan(), folder)


def test_variants_of_one_name_and_different_clips_are_kept_apart(done: Path) -> None:
    text = (done / "question.yaml").read_text()
    (done / "other.yaml").write_text(text.replace("no_ctx:  {label", "no_ctx:  {train.trainable: entire, label"))
    assert main(["run", "question.yaml", "other.yaml", *RUN[2:], "--out", "both"]) == 0
    index = json.loads((done / "both" / "samples" / "index.json").read_text())
    assert {"no_ctx", "other.no_ctx"} <= set(index[0]["files"])
    assert "other.full" not in index[0]["files"]
    curves = lines(done / "both" / "curves.jsonl")
    assert ["question", "other"] in [c["question"] for c in curves if c["variant"] == "full"]
    assert ["other"] in [c["question"] for c in curves if c["variant"] == "no_ctx"]


def test_previews_are_enlarged_by_whole_pixels_to_even_sides() -> None:
    frames = np.arange(2 * 5 * 7 * 3, dtype=np.uint8).reshape(2, 5, 7, 3)
    large = enlarge(frames)
    assert large.shape == (2, 130, 182, 3)
    assert (large[:, ::26, ::26] == frames).all()
    assert enlarge(np.zeros((1, 301, 400, 3), np.uint8)).shape == (1, 302, 400, 3)


def test_previews_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    write_picture(tmp_path / "c.png", frames[0])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "c.png"]


def test_only_the_clips_that_are_shown_are_read(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (6, 2, 4, 4, 3), dtype=np.uint8)
    save_file({"frames": frames}, tmp_path / "frames.safetensors")
    assert (first_clips(tmp_path, 4) == frames[:4]).all()
    assert len(first_clips(tmp_path, 40)) == 6
