"""The question `applications`: models that are shown both ends, planned, sampled and measured as such."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench.encoded import Encoded
from bench.errors import UsageError
from bench.fingerprint import FileHashes
from bench.graph import File
from bench.metrics.features import read_sample
from bench.plan import Plan
from bench.planner import build_plan
from bench.runner import Options, prepare
from bench.scoring.plan import ScorePlan, Steps, ends_asked
from bench.scoring.rescore import Rescored, _under
from bench.scoring.runs import Made
from bench.spec import load_question
from bench.steps import features
from bench.steps.sample import as_loops
from bench.variants import Settings, impossible, resolve
from bench.work import Work
from datasets.framefile import FramesWriter
from models.presets import dynamicrafter_256, dynamicrafter_512_interp, tiny

SPEC = Path("ablations/applications.yaml")
OTHER = Path("ablations/stages.yaml")
ENDS = {"end_conformity", "loop_closure", "step_distance"}


def plan_of(*specs: Path, profile: str = "tiny") -> Plan:
    return prepare(Options(specs=specs, profile=profile)).plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(SPEC)


def scored(plan: Plan, variant: str):
    return plan.variants["applications", variant].scored["msrvtt", 0]


def test_variants_with_both_ends_are_the_shipped_model_and_train_nothing(plan):
    shipped = plan.sources.weight("interpolation")
    for variant in ("interpolate", "loop"):
        assert plan.variants["applications", variant].training == {seed: () for seed in (0, 1, 2)}
        step = scored(plan, variant).clips
        assert step.inputs["adapted"] == shipped and step.inputs["model"] == plan.sources.weight("t2v")
        assert step.config["model"]["visual_detail_guidance"] == "first_and_last"
        (note,) = plan.notes["applications", variant]
        assert note.startswith("interpolation.safetensors on t2v.safetensors: comes with the project")
    assert len(plan.variants["applications", "full"].training[0]) == 3
    assert "adapted" not in scored(plan, "full").clips.inputs


def test_a_loop_is_sampled_towards_its_first_frame_and_nothing_else_says_so(plan):
    configs = {name: scored(plan, name).clips.config for name in ("full", "interpolate", "loop")}
    assert configs["loop"]["ends_at"] == "first"
    assert [set(configs["loop"]) - set(configs[other]) for other in ("full", "interpolate")] == [{"ends_at"}] * 2


def test_each_variant_is_measured_by_what_applies_to_it(plan):
    names = ("full", "interpolate", "loop")
    asked = {name: set(scored(plan, name).features.config["ends"]["arrays"]) for name in names}
    assert asked == {"full": ENDS, "interpolate": ENDS - {"loop_closure"}, "loop": ENDS - {"end_conformity"}}
    assert set(plan.evaluation["msrvtt"].reference.config["ends"]["arrays"]) == ENDS
    assert set(plan.evaluation["msrvtt"].baselines["static"].features.config["ends"]["arrays"]) == ENDS
    assert plan.extents["applications"].samples == 32


def test_without_a_shipped_model_one_is_trained_for_both():
    plan = plan_of(SPEC, profile="smoke")
    stages = {name: plan.variants["applications", name].training[0] for name in ("full", "interpolate", "loop")}
    prints = {name: [one.source.fingerprint for one in found] for name, found in stages.items()}
    assert prints["interpolate"] == prints["loop"]
    assert prints["interpolate"][:2] == prints["full"][:2] and prints["interpolate"][2] != prints["full"][2]
    assert stages["loop"][2].stage.model.visual_detail_guidance == "first_and_last"


def test_other_questions_keep_their_steps_beside_it():
    alone, both = plan_of(OTHER), plan_of(OTHER, SPEC)
    assert {step.fingerprint for step in alone.graph} <= {step.fingerprint for step in both.graph}
    assert not any("ends" in step.config for step in alone.graph)
    assert "ends" in both.sets("applications")["ucf101"].reference.config
    assert "ends" not in both.sets("stages")["ucf101"].reference.config


def test_a_task_needs_a_model_that_is_shown_two_pictures(tmp_path):
    (tmp_path / "wrong.yaml").write_text(
        "question: q\nsource: s\nvariants:\n  a: {task: loop, model.visual_detail_guidance: repeat}\n"
        "  b: {task: lopo}\n"
    )
    with pytest.raises(UsageError) as caught:
        load_question(tmp_path / "wrong.yaml")
    assert ["shows the model two pictures" in caught.value.messages[0], len(caught.value.messages)] == [True, 2]
    assert "wrong.yaml:5: variants.b.task is 'lopo'" in caught.value.messages[1]
    assert impossible(Settings(task="loop", visual_detail_guidance="repeat"))[0][0] == "task"
    released = Settings(task="interpolate", weights="dynamicrafter")
    assert impossible(released, dynamicrafter_512_interp()) == []
    ((key, words),) = impossible(released, dynamicrafter_256())
    assert key == "task" and "visual_detail_guidance repeat; wanted first_and_last" in words
    assert resolve(tiny(), Settings(task="loop")).visual_detail_guidance == "first_and_last"


def test_the_end_of_a_loop_is_its_beginning():
    mean = torch.randn(2, 4, 8, 3, 3)
    rest = {name: torch.zeros(1) for name in ("std", "text", "image_tokens", "null_text", "null_image_tokens", "fs")}
    data = Encoded(mean=mean, **rest)
    looped = as_loops(data)
    assert torch.equal(looped.mean[:, :, -1], mean[:, :, 0]) and torch.equal(looped.mean[:, :, :-1], mean[:, :, :-1])
    assert not torch.equal(data.mean[:, :, -1], mean[:, :, 0])  # and the data is left as it was


def artifact(folder: Path, frames: np.ndarray, name: str) -> Path:
    folder.mkdir()
    with FramesWriter(folder / name) as writer:
        for clip in frames:
            writer.append(clip)
    items = [{"id": f"v{k}", "prompt": "a red square", "group": None} for k in range(len(frames))]
    (folder / "items.json").write_text(json.dumps(items))
    return folder


def test_the_step_measures_ends_against_the_real_clips_last_frame(tmp_path):
    """A clip that ends at the real one's last frame conforms; one that ends where it began closes."""
    rng = np.random.default_rng(0)
    real = rng.integers(0, 255, (3, 8, 32, 32, 3), dtype=np.uint8)
    made = rng.integers(0, 255, (3, 8, 32, 32, 3), dtype=np.uint8)
    made[0, -1], made[1, -1] = real[0, -1], made[1, 0]
    weights = {role: Path(f"weights/tiny/{role}.safetensors") for role in ("classifier", "perceptual")}
    inputs = {
        "clips": artifact(tmp_path / "made", made, "frames.safetensors"),
        "conditions": artifact(tmp_path / "real", real, "clips.safetensors"),
        **weights,
    }
    video = {"network": "tiny-i3d", "input": "as_made", "eps": None, "bytes": "as they are"}
    config = {"count": 9, "micro_batch": 2, "video": video, "image": None, "motion": False, "clip": None}
    config["ends"] = {"network": "tiny-perceptual", "arrays": ["end_conformity", "loop_closure"]}
    (tmp_path / "out").mkdir()
    features.run(Work(config, inputs, tmp_path / "out", tmp_path))
    found = read_sample(tmp_path / "out").extras
    assert set(found) == {"end_conformity", "loop_closure"}
    assert found["end_conformity"][0] == pytest.approx(1.0) and (found["end_conformity"][1:] < 0.999).all()
    assert found["loop_closure"][1] == pytest.approx(0.0, abs=1e-12) and (found["loop_closure"][[0, 2]] > 1e-3).all()


def test_it_asks_for_no_more_clips_than_the_profile_has(plan):
    small = plan.profile.model_copy(update={"samples": 8})
    assert build_plan(plan.questions, small, plan.sources, plan.protocol).extents["applications"].samples == 8


def test_an_export_of_it_is_measured_anew_by_the_same_numbers():
    """What `score EXPORT` asks of each variant is what the run's plan asked."""
    told = {"applications": load_question(SPEC).to_json(), "stages": load_question(OTHER).to_json()}
    assert ends_asked(told, "stages") == {} and ends_asked(told, "not there") == {}
    found = {name: set(arrays) for name, arrays in ends_asked(told, "applications").items()}
    assert found == {
        "": ENDS, "full": ENDS, "interpolate": ENDS - {"loop_closure"}, "loop": ENDS - {"end_conformity"},
    }  # fmt: skip


def test_scored_again_their_ends_are_measured_too(plan, tmp_path):
    told = {question.name: question.to_json() for question in plan.questions}
    again = Rescored(SimpleNamespace(folder=tmp_path, spec={"questions": told}), None, None, {})  # type: ignore[arg-type]
    again.plan = ScorePlan(plan.profile, plan.sources, [plan.protocol], plan.profile.samples)
    clips, real = (File(tmp_path / name, name) for name in ("clips", "real"))
    made = [
        Made("applications", variant, variant, role, "msrvtt", "tiny", seed, clips, real, real)
        for variant, role, seed in (("full", "variant", 0), ("loop", "variant", 0), ("static", "baseline", None))
    ]
    _under(again, Steps(again.plan, "cpu", FileHashes()), made, plan.protocol)
    measured = {one.system.name: one.features for one in again.plan.scored if one.features is not None}
    asked = {name: set(step.config.get("ends", {}).get("arrays", ())) for name, step in measured.items()}
    assert asked == {"full": ENDS, "loop": ENDS - {"end_conformity"}, "static": ENDS}
    assert {len(one.reference.config["ends"]["arrays"]) for one in again.plan.scored} == {3}
