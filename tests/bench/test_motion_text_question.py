"""The question about the text: what training clips are called, whose they are, and what stays shared."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.data_steps import UNDESCRIBED, captions_of
from bench.encoded import TEXTS, Encoded, load_encoded, retold
from bench.fingerprint import FileHashes
from bench.measure import resolve_protocols
from bench.planner import build_plan
from bench.profile import load_profile
from bench.sources import Sources, UserData, find_sources
from bench.spec import load_question
from bench.steps import captions
from bench.variants import Settings, chain, config_to_json
from bench.work import Work
from datasets import webvid
from datasets.catalog import content_digest
from datasets.motion_text import DYNAMIC, split
from datasets.procedural import MOTIONS
from datasets.select import ClipRule, select_clips
from models.presets import tiny
from models.weights import load_tensors

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "weights" / "tiny" / "clip.safetensors"
CAPTIONS = [f"a {color} {shape} {how}" for color in ("red", "blue") for shape in ("circle", "cross")
            for ways in MOTIONS.values() for how in ways]  # fmt: skip


def encoded(count: int) -> Encoded:
    rng = torch.Generator().manual_seed(0)
    clips = [torch.randn(count, *shape, generator=rng) for shape in ((4, 2, 3, 3), (4, 2, 3, 3), (2, 5, 6), (8, 64))]
    nulls = torch.zeros(1, 8, 64), torch.zeros(1, 5, 6)
    return Encoded(clips[0], clips[1], clips[2].half(), clips[3].half(), torch.arange(count), *nulls)


def tell(folder: Path, items: list[dict], **changed: object) -> tuple[list[dict], list[str], dict]:
    """What the step leaves of some items: lines, notes, tensors."""
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "items.json").write_text(json.dumps(items))
    (folder / "out").mkdir()
    config = {"text": "motion", "least_dynamic": None, "undescribed": 0.0, "seed": 0, "micro_batch": 16,
              "clip": config_to_json(tiny().clip), "machine": {"device": "cpu", "threads": 1}, **changed}  # fmt: skip
    captions.run(Work(config, {"encoded": folder / "in", "clip": CLIP}, folder / "out", folder))
    lines, notes = (json.loads((folder / "out" / name).read_text()) for name in ("items.json", "notes.json"))
    return lines, notes, load_tensors(folder / "out" / TEXTS)


def some(count: int = len(CAPTIONS)) -> list[dict]:
    return [{"id": f"v{k}", "prompt": text} for k, text in enumerate(CAPTIONS[:count])]


# ---- the step ----


def test_motion_text_is_what_the_rules_make_of_each_caption(tmp_path: Path) -> None:
    lines, notes, tensors = tell(tmp_path, some())
    assert [line["prompt"] for line in lines] == [split(text).motion for text in CAPTIONS]
    assert tensors["rows"].tolist() == list(range(len(CAPTIONS))) and notes[0].startswith("72 captions: 0 lost")
    assert tensors["text"].shape[0] == 72 and tensors["text"].dtype == torch.float16


def test_full_captions_are_encoded_as_the_training_set_is(tmp_path: Path) -> None:
    """The same text tower, whatever the batch: bytes of step `encode`."""
    from bench.parts import load_encoders
    from bench.steps.encode import ClipEncoder

    image, text = load_encoders(CLIP, tiny().clip)
    encoder = ClipEncoder(torch.nn.Identity(), image, text)  # type: ignore[arg-type]
    _, _, tensors = tell(tmp_path, some(20), text="full")
    assert torch.equal(tensors["text"], encoder.prompts(CAPTIONS[:20], 16).half())


def test_about_a_half_loses_its_words_and_the_filter_takes_the_other(tmp_path: Path) -> None:
    full, _, _ = tell(tmp_path / "full", some(), text="full", undescribed=0.5)
    words, _, _ = tell(tmp_path / "words", some(), undescribed=0.5)
    kept, notes, tensors = tell(tmp_path / "kept", some(), undescribed=0.5, least_dynamic=DYNAMIC)
    lost = {line["id"] for line, text in zip(full, CAPTIONS, strict=True) if line["prompt"] != text}
    assert 0.3 < len(lost) / len(CAPTIONS) < 0.7
    assert all(line["prompt"] in CAPTIONS[k] and split(line["prompt"]).dynamic == 0 for k, line in enumerate(full)
               if line["id"] in lost)  # fmt: skip
    assert {line["id"] for line in words if line["prompt"] == ""} == lost, "the same captions, whatever the text"
    assert [line["id"] for line in kept] == [line["id"] for line in words if line["prompt"]]
    assert tensors["rows"].tolist() == [int(line["id"][1:]) for line in kept]
    assert notes[0].startswith(f"72 captions: {len(lost)} lost their words of motion, {len(lost)} say of no motion")
    assert notes[1] == f"{len(lost)} clips are left out, {72 - len(lost)} are trained on"


def test_which_captions_lose_their_words_depends_on_the_video_alone(tmp_path: Path) -> None:
    one, _, _ = tell(tmp_path / "one", some(), undescribed=0.5)
    other, _, _ = tell(tmp_path / "other", some()[::-1], undescribed=0.5)
    assert {line["id"]: line["prompt"] for line in one} == {line["id"]: line["prompt"] for line in other}


def test_a_filter_that_leaves_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none of 5 captions has a dynamic confidence of 0.5"):
        tell(tmp_path, some(5), undescribed=1.0, least_dynamic=0.5)


def test_what_the_table_says_is_taken(tmp_path: Path) -> None:
    told = {"scene": "a room", "motion": "man clapping", "dynamic": "0.9"}
    lines, notes, _ = tell(
        tmp_path, [{"id": "a", "prompt": "a man in a room", "told": told}, {"id": "b", "prompt": "x"}]
    )
    assert [(line["prompt"], line["dynamic"]) for line in lines] == [("man clapping", 0.9), ("", 0.0)]
    assert notes[0] == "1 captions were taken apart beforehand, as the table says"


# ---- training on it ----


def test_retold_clips_are_the_kept_ones_with_their_new_texts(tmp_path: Path) -> None:
    kept, _, tensors = tell(tmp_path, some(10), undescribed=0.5, least_dynamic=0.5)
    data = encoded(10)
    data = replace(data, text=torch.zeros(10, *tensors["text"].shape[1:], dtype=torch.float16))
    found = retold(data, tmp_path / "out")
    rows = [int(line["id"][1:]) for line in kept]
    assert len(found) == len(rows) < 10 and torch.equal(found.text, tensors["text"])
    for name in ("mean", "std", "image_tokens", "fs"):
        assert torch.equal(getattr(found, name), getattr(data, name)[rows]), name
    with pytest.raises(ValueError, match="do not fit 3 clips"):
        retold(replace(data, mean=data.mean[:3]), tmp_path / "out")


def test_the_training_step_reads_them(tmp_path: Path) -> None:
    from bench.steps.train import training_set

    _, _, tensors = tell(tmp_path / "told", some(10), undescribed=0.5, least_dynamic=0.5)
    data = replace(encoded(10), text=torch.zeros(10, *tensors["text"].shape[1:], dtype=torch.float16))
    (tmp_path / "data").mkdir()
    data.save(tmp_path / "data")
    plain, told = (
        training_set(Work({}, {"encoded": tmp_path / "data", **inputs}, tmp_path, tmp_path))
        for inputs in ({}, {"captions": tmp_path / "told" / "out"})
    )
    assert (len(plain), len(told)) == (10, len(tensors["rows"]))
    assert torch.equal(plain.text, load_encoded(tmp_path / "data").text) and torch.equal(told.text, tensors["text"])


# ---- the plan ----


@pytest.fixture(scope="module")
def plan():
    profile = load_profile("tiny")
    sources = find_sources(profile, {}, {}, FileHashes())
    question = load_question(ROOT / "ablations" / "motion_text.yaml")
    return build_plan([question], profile, sources, resolve_protocols((), profile, sources)[0])


def test_the_full_model_is_the_one_of_all_questions_and_stage_i_is_shared(plan) -> None:
    full = plan.variants["motion_text", "full"].training[0]
    assert all("captions" not in trained.step.inputs for trained in full if trained.step is not None)
    for name in ("undescribed", "motion", "motion_filtered"):
        first, *later = plan.variants["motion_text", name].training[0]
        assert first.step is None and first.source == full[0].source, (
            "stage i ships, trained on the captions as they are"
        )
        assert [set(trained.step.inputs) >= {"encoded", "captions"} for trained in later] == [True, True]
        assert all(trained.step.inputs["encoded"] is full[1].step.inputs["encoded"] for trained in later)
        sampled = plan.variants["motion_text", name].scored["msrvtt", 0].clips
        assert (
            sampled.inputs["encoded"]
            is plan.variants["motion_text", "full"].scored["msrvtt", 0].clips.inputs["encoded"]
        )


def test_each_kind_of_text_is_made_once_for_all_seeds(plan) -> None:
    steps = [step for step in plan.graph if step.kind == "captions"]
    told = {(s.config["text"], s.config["least_dynamic"], s.config["undescribed"]) for s in steps}
    assert len(steps) == 3 and told == {
        ("full", None, UNDESCRIBED), ("motion", None, UNDESCRIBED), ("motion", DYNAMIC, UNDESCRIBED)
    }  # fmt: skip


def test_captions_of_a_user_lose_no_words(tmp_path: Path) -> None:
    profile = load_profile("tiny")
    own = Sources({}, {"train": UserData("train", tmp_path, "webvid", "digest")})
    told = captions_of(profile, own, "motion", config_to_json(tiny().clip))
    assert told.config["undescribed"] == 0.0 and told.cost > 0 and told.disk > 0


def test_stages_of_an_unshipped_first_stage_are_told_as_before_too() -> None:
    profile = load_profile("smoke")
    sources = find_sources(profile, {}, {}, FileHashes())
    question = load_question(ROOT / "ablations" / "motion_text.yaml")
    built = build_plan([question], profile, sources, resolve_protocols((), profile, sources)[0])
    first = {name: built.variants["motion_text", name].training[0][0].step.fingerprint for name in ("full", "motion")}
    assert first["full"] == first["motion"]


def test_the_one_stage_prior_ships_for_any_captions() -> None:
    profile = load_profile("tiny")
    stages = [
        chain(tiny(), Settings(schedule="one_stage", captions=kind), profile.stages.budget)
        for kind in ("full", "motion")
    ]
    assert [stage[0].shipped for stage in stages] == ["one_stage", "one_stage"]


# ---- a table that was taken apart beforehand ----


def test_columns_of_a_table_travel_with_the_clips_and_change_the_content(tmp_path: Path) -> None:
    from datasets.world import WorldConfig, write_world

    write_world(tmp_path / "w", WorldConfig(train_videos=2, ucf101_groups=8, ucf101_clips=1, msrvtt_videos=1), seed=1)
    root = tmp_path / "w" / "train"
    table = root / "results_train.csv"
    before = webvid.read(root)
    head, one, two = table.read_text().splitlines()
    tail = [',a thing,"thing turns, fast",0.75', ",a thing,,1e-3"]  # the second is no number of ours
    table.write_text("\n".join([f"{head},scene,motion,dynamic", one + tail[0], two + tail[1]]) + "\n")
    after = webvid.read(root)
    assert [bool(video.told) for video in after.videos] == [True, False] and not before.videos[0].told
    assert content_digest(before, lambda path: "x") != content_digest(after, lambda path: "x")
    clips = {clip.id: clip for clip in select_clips(after, ClipRule(8, 3, 32, 32))}
    assert clips[after.videos[0].id].told == {"scene": "a thing", "motion": "thing turns, fast", "dynamic": "0.75"}
    assert clips[after.videos[1].id].told == {}


def test_the_run_says_what_became_of_captions_and_why_a_number_is_not_there() -> None:
    from types import SimpleNamespace as Fake

    from bench.caption_words import NOT_GIVEN, caption_notes

    step = Fake(kind="captions", label="captions motion")
    question = Fake(expect=[Fake(metric="motion_as_asked")])
    run = Fake(
        plan=Fake(graph=[step, Fake(kind="train")], questions=[question]), records=[Fake(metric="fvd")],
        read=lambda step, name: ["447 clips are left out"],
    )  # fmt: skip
    assert list(caption_notes(run)) == ["captions motion: 447 clips are left out", NOT_GIVEN]  # type: ignore[arg-type]
    run.records.append(Fake(metric="motion_as_asked"))
    assert list(caption_notes(run)) == ["captions motion: 447 clips are left out"]  # type: ignore[arg-type]
