"""The plan: equal work is one step, whatever can change a step's bytes is in its fingerprint, and nothing
else.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import graph as graphs
from bench.errors import UsageError
from bench.fingerprint import FileHashes
from bench.graph import File, Graph, Step, kind_version, path_costs
from bench.measure import resolve_protocols
from bench.plan import Plan
from bench.plan_table import plan_json, plan_text
from bench.planner import build_plan
from bench.profile import Profile, load_profile
from bench.runner import Options, prepare
from bench.sources import assignments, find_sources
from bench.spec import Question, Variant, load_question
from bench.store import Store
from bench.variants import ALLOWED, KEYS, Settings
from models.config import TEXT_STREAM_ALONE
from tests.bench.conftest import SPEC


@pytest.fixture
def profile(toy: Path) -> Profile:
    return load_profile("./profile.yaml")


def question(toy: Path, text: str = SPEC, name: str = "question") -> Question:
    path = toy / f"{name}.yaml"
    path.write_text(text)
    return load_question(path)


def plan_of(profile: Profile, *questions: Question, device: str = "cpu", **weights: Path) -> Plan:
    sources = find_sources(profile, {}, weights, FileHashes())
    return build_plan(questions, profile, sources, resolve_protocols((), profile, sources)[0], device)


def fingerprints(plan: Plan, kind: str) -> set[str]:
    return {step.fingerprint for step in plan.graph if step.kind == kind}


def test_stages_are_shared_between_variants_and_questions(profile: Profile, toy: Path) -> None:
    first = question(toy)
    again = question(toy, SPEC.replace("no_vdg:", "other:").replace("visual_detail_guidance", "context"), "again")
    one, two = plan_of(profile, first), plan_of(profile, first, again)
    assert len(fingerprints(one, "train")) == 2 * (2 + 3 + 1)  # seeds x (no_ctx: ii iii; full: i ii iii; no_vdg: iii)
    assert fingerprints(one, "train") == fingerprints(two, "train")
    assert len(fingerprints(two, "claims")) == 4
    shared = two.variants["question", "full"].training[0][1].step
    assert shared is not None
    users = {(q, v) for q, v, _ in two.graph.users[shared.fingerprint]}
    assert users - {("question", "claims"), ("again", "claims")} == {
        ("question", "full"), ("question", "no_vdg"), ("again", "full"),
    }  # fmt: skip


def test_every_step_comes_after_its_inputs(profile: Profile, toy: Path) -> None:
    seen: set[str] = set()
    for step in plan_of(profile, question(toy)).graph:
        assert {parent.fingerprint for parent in step.parents} <= seen
        seen.add(step.fingerprint)


def test_the_inputs_of_each_kind_are_as_documented(profile: Profile, toy: Path) -> None:
    roles = {step.kind: set(step.inputs) for step in plan_of(profile, question(toy)).graph if step.kind != "train"}
    roles["baseline"] |= {"clips"}
    assert roles == {
        "world": set(), "clips": {"world"}, "encode": {"clips", "vae", "clip"},
        "sample": {"model", "clips", "encoded", "vae"}, "baseline": {"clips"},
        "features": {"clips", "conditions", "classifier", "perceptual", "clip"}, "score": {"generated", "reference"},
        "aggregate": {"reference", "seed_0", "seed_1"},
        "alike": {"generated", "reference"},
        "claims": {"reference", "full.seed_0", "full.seed_1", "no_ctx.seed_0", "no_ctx.seed_1"},
    }  # fmt: skip


def test_stage_ii_gets_its_parent_and_what_stage_i_trained(profile: Profile, toy: Path) -> None:
    first, second, third = plan_of(profile, question(toy)).variants["question", "full"].training[1]
    assert first.step and second.step and third.step
    assert isinstance(second.step.inputs["parent"], File)
    assert second.step.inputs["trained"] is first.step
    assert third.step.inputs["parent"] is second.step
    assert "trained" not in third.step.inputs
    assert (first.step.config["images"], second.step.config["images"]) == (True, False)


def test_a_shipped_stage_is_a_file_and_no_step(profile: Profile, toy: Path) -> None:
    shipped = toy / "w" / "learned.safetensors"
    shipped.write_text("stage i")
    stages = profile.stages.model_copy(update={"i": profile.stages.i.model_copy(update={"ship": True})})
    weights = {**profile.weights, "stage_i_learned": str(shipped)}
    plan = plan_of(profile.model_copy(update={"stages": stages, "weights": weights}), question(toy))
    first, second, _ = plan.variants["question", "full"].training[0]
    assert first.step is None
    assert isinstance(first.source, File) and first.source.path == shipped
    assert second.step and second.step.inputs["trained"] == first.source
    assert "i" not in {step.config["stage"] for step in plan.graph if step.kind == "train"}


CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {  # change of the profile -> kinds it leaves alone
    "previews": ({"previews": 1}, {"world", "clips", "train", "sample", "features", "score", "claims"}),
    "workers": ({"execution": {"workers": 7}}, {"world", "clips", "train", "sample", "features", "score"}),
    "checkpoint_every": ({"stages": {"checkpoint_every": 1}}, {"train", "sample", "claims"}),
    "guidance": ({"sampling": {"text_scale": 2.0}}, {"clips", "encode", "train", "baseline"}),
    "learning rate": ({"stages": {"learning_rate": 2e-3}}, {"world", "clips", "encode", "baseline"}),
    "training seed of the world": ({"world": {"seed": 8}}, set()),
    "threads": ({"execution": {"threads": 2}}, {"world", "clips"}),
}  # fmt: skip


@pytest.mark.parametrize(("change", "same"), CHANGES.values(), ids=CHANGES)
def test_a_change_reaches_what_depends_on_it_and_no_more(profile, toy, change, same) -> None:
    updates = {k: getattr(profile, k).model_copy(update=v) if isinstance(v, dict) else v for k, v in change.items()}
    before = plan_of(profile, question(toy))
    after = plan_of(profile.model_copy(update=updates), question(toy))
    for kind in {step.kind for step in before.graph}:
        equal = fingerprints(before, kind) == fingerprints(after, kind)
        if kind in same:
            assert equal, f"{kind} should not have changed"
    if "sampling" in change:
        assert fingerprints(before, "sample").isdisjoint(fingerprints(after, "sample"))
    if "stages" in change and "learning_rate" in change["stages"]:
        assert fingerprints(before, "train").isdisjoint(fingerprints(after, "train"))
    if "world" in change:
        assert set(before.graph.steps).isdisjoint(after.graph.steps)


def test_words_and_order_change_no_fingerprint(profile: Profile, toy: Path) -> None:
    plain = set(plan_of(profile, question(toy)).graph.steps)
    lines = SPEC.replace('"all"', '"everything"').replace("What do", "Why do").splitlines(keepends=True)
    lines[3], lines[5] = lines[5], lines[3]
    assert set(plan_of(profile, question(toy, "".join(lines))).graph.steps) == plain


def test_the_version_of_a_kind_is_part_of_its_steps(profile: Profile, toy: Path, monkeypatch) -> None:
    before = plan_of(profile, question(toy))
    (toy / "toy_sample.py").write_text("VERSION: int = 2\n")
    monkeypatch.syspath_prepend(str(toy))
    graphs.register_kind("sample", "toy_sample")
    after = plan_of(profile, question(toy))
    assert fingerprints(before, "train") == fingerprints(after, "train")
    assert fingerprints(before, "sample").isdisjoint(fingerprints(after, "sample"))
    assert fingerprints(before, "claims").isdisjoint(fingerprints(after, "claims"))


def test_a_kind_without_a_version_is_an_error(toy: Path, monkeypatch) -> None:
    (toy / "unversioned.py").write_text("def run(work): ...\n")
    monkeypatch.syspath_prepend(str(toy))
    graphs.register_kind("sample", "unversioned")
    with pytest.raises(ValueError, match="no line `VERSION = <whole number>`"):
        kind_version("sample")


def test_a_file_counts_by_its_content_not_its_place(profile: Profile, toy: Path) -> None:
    before = plan_of(profile, question(toy))
    moved = toy / "moved.safetensors"
    moved.write_bytes((toy / "w" / "vae.safetensors").read_bytes())
    assert set(plan_of(profile, question(toy), vae=moved).graph.steps) == set(before.graph.steps)
    moved.write_bytes(b"other")
    after = plan_of(profile, question(toy), vae=moved)
    assert fingerprints(before, "encode").isdisjoint(fingerprints(after, "encode"))
    assert fingerprints(before, "clips") == fingerprints(after, "clips")


def test_a_missing_file_is_a_named_placeholder(profile: Profile, toy: Path) -> None:
    (toy / "w" / "vae.safetensors").unlink()
    plan = plan_of(profile, question(toy))
    assert [file.digest for file in plan.graph.missing_files()] == ["missing:vae"]


def test_the_device_is_part_of_what_runs_a_network(profile: Profile, toy: Path) -> None:
    cpu, gpu = plan_of(profile, question(toy)), plan_of(profile, question(toy), device="cuda")
    assert fingerprints(cpu, "clips") == fingerprints(gpu, "clips")
    for kind in ("encode", "train", "sample", "features", "score"):
        assert fingerprints(cpu, kind).isdisjoint(fingerprints(gpu, kind))


def test_a_thousand_variants_are_planned_in_seconds(profile: Profile, toy: Path) -> None:
    keys = [key for key in ALLOWED if key != "weights"]  # which goes with no other
    combined = []
    for number in range(1000):
        rest, overrides = number, {}
        for key in keys:
            rest, place = divmod(rest, len(ALLOWED[key]))
            overrides[key] = ALLOWED[key][place]
        overrides["model.prediction"] = "v"
        settings = Settings(**{KEYS[k]: v for k, v in overrides.items()})
        if settings.context == "none":
            settings = replace(settings, schedule="three_stage", condition_frame="random")
        if settings.context in TEXT_STREAM_ALONE:
            settings = replace(settings, image_scale="learned")
        combined.append(Variant(f"v{number}", f"v{number}", (), settings))
    big = replace(question(toy), variants=tuple(combined), expect=())
    started = time.process_time()
    plan = plan_of(profile, big)
    assert time.process_time() - started < 5
    assert len(plan.variants) == 1000
    assert len({variant.settings for variant in combined}) > 100


def test_a_thousand_variants_in_a_file_are_read_in_seconds(toy: Path) -> None:
    rows = "".join(f"  v{k}: {{label: x, model.image_scale: fixed}}\n" for k in range(1000))
    text = SPEC.split("variants:")[0] + "variants:\n" + rows
    started = time.process_time()
    assert len(question(toy, text, "many").variants) == 1000
    assert time.process_time() - started < 5


def test_the_plan_is_told_to_people_and_programs(toy: Path) -> None:
    (toy / "w" / "vae.safetensors").unlink()
    prepared = prepare(Options(specs=(toy / "question.yaml",), profile="./profile.yaml", samples=3))
    text = plan_text(prepared, Store(toy / "store"))
    assert "3 variants" in text and "3 samples per variant" in text
    assert "train full stage ii seed 0" in text and "question.full, question.no_vdg" in text
    assert "weights 'vae'" in text
    told = plan_json(prepared, Store(toy / "store"))
    assert told["todo"] == len(told["steps"]) == len(prepared.plan.graph)
    assert told["missing"] == ["vae"]
    assert told["cpu_seconds"] > 0 and told["bytes"] > 0


def test_the_users_data_replace_a_set_and_count_by_content(profile: Profile, toy: Path) -> None:
    def planned(root: Path) -> Plan:
        sources = find_sources(profile, {"train": root}, {}, FileHashes())
        return build_plan([question(toy)], profile, sources, resolve_protocols((), profile, sources)[0])

    for name in ("a", "b"):
        (toy / name).mkdir()
        (toy / name / "one.mp4").write_bytes(b"video")
    first, copy = planned(toy / "a"), planned(toy / "b")
    assert first.train_clips.local["root"] == str(toy / "a")
    assert first.train_clips.config["catalog"] == "folder"
    assert set(first.graph.steps) == set(copy.graph.steps)
    (toy / "b" / "one.mp4").write_bytes(b"other")
    changed = planned(toy / "b")
    assert fingerprints(changed, "train").isdisjoint(fingerprints(first, "train"))
    assert changed.evaluation["ucf101"].clips.fingerprint == first.evaluation["ucf101"].clips.fingerprint


def test_missing_and_empty_folders_are_refused(profile: Profile, toy: Path) -> None:
    (toy / "empty").mkdir()
    with pytest.raises(UsageError) as caught:
        find_sources(profile, {"train": toy / "empty", "ucf101": toy / "nowhere"}, {"vae": toy / "no"}, FileHashes())
    words = str(caught.value)
    assert "--data train=" in words and "no videos found" in words
    assert "--data ucf101=" in words and "there is no such folder" in words
    assert "--weights vae=" in words


def test_training_and_evaluation_may_not_share_videos(profile: Profile, toy: Path) -> None:
    folder = toy / "UCF-101" / "Archery"
    folder.mkdir(parents=True)
    (folder / "v_Archery_g01_c01.avi").write_bytes(b"video")
    with pytest.raises(UsageError, match="share"):
        find_sources(profile, {"train": toy / "UCF-101", "ucf101": toy / "UCF-101"}, {}, FileHashes())


def test_a_folder_of_weights_counts_by_its_files(profile: Profile, toy: Path) -> None:
    def digest(name: str) -> str:
        return find_sources(profile, {}, {"dreamsim": toy / name}, FileHashes()).weight("dreamsim").digest

    for name in ("one", "two"):
        (toy / name).mkdir()
        (toy / name / "net.pt").write_bytes(b"weights")
    assert digest("one") == digest("two") and len(digest("one")) == 64
    (toy / "two" / "net.pt").write_bytes(b"others")
    assert digest("one") != digest("two")
    with pytest.raises(UsageError, match="--weights vae="):
        find_sources(profile, {}, {"vae": toy / "one"}, FileHashes())  # a folder is no file


def test_half_precision_counts_on_a_gpu_alone_and_training_has_its_own(profile: Profile, toy: Path) -> None:
    execution = profile.execution.model_copy(update={"precision": "fp16"})
    half = profile.model_copy(update={"execution": execution})
    for device, kinds in (("cpu", set()), ("cuda", {"encode", "sample", "baseline"})):
        plain, other = (plan_of(p, question(toy), device=device) for p in (profile, half))
        changed = {step.kind for step in other.graph if step.config.get("machine", {}).get("precision")}
        assert changed == kinds
        assert fingerprints(plain, "train") == fingerprints(other, "train") or device == "cuda"
    trained = profile.model_copy(update={"stages": profile.stages.model_copy(update={"precision": "bf16"})})
    machines = [s.config["machine"] for s in plan_of(trained, question(toy), device="cuda").graph if s.kind == "train"]
    assert {machine["precision"] for machine in machines} == {"bf16"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("ucf=x", "unknown name 'ucf'. Known: ucf101"),
        ("ucf101", "write --data NAME=PATH"),
        ("ucf101=", "write"),
    ],
)
def test_malformed_assignments_are_refused(value: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.split(".")[0]):
        assignments("--data", [value], ("ucf101", "msrvtt", "train"))


def test_file_hashes_are_remembered_until_the_file_changes(tmp_path: Path, monkeypatch) -> None:
    import os

    path, cache = tmp_path / "f", tmp_path / "cache.json"
    path.write_text("one")
    os.utime(path, (1000, 1000))
    hashes = FileHashes(cache)
    first = hashes.sha256(path)
    hashes.save()
    calls: list[Path] = []
    monkeypatch.setattr("bench.fingerprint.sha256_file", lambda p: calls.append(p) or "0" * 64)
    again = FileHashes(cache)
    assert again.sha256(path) == first and not calls
    path.write_text("two")
    assert again.sha256(path) == "0" * 64 and calls == [path]


def test_path_costs_add_up_along_the_longest_path(toy_kinds: None) -> None:
    graph = Graph()
    a = graph.add(Step("world", "a", {"k": 1}, cost=1))
    b = graph.add(Step("clips", "b", {"k": 2}, {"world": a}, cost=5))
    c = graph.add(Step("clips", "c", {"k": 3}, {"world": a}, cost=2))
    graph.add(Step("encode", "d", {}, {"b": b, "c": c}, cost=3))
    longest = path_costs(graph, {s.fingerprint: s.cost for s in graph})
    assert [longest[s.fingerprint] for s in graph] == [9, 8, 5, 3]


def test_equal_steps_are_one_and_users_reach_what_they_stand_on(toy_kinds: None) -> None:
    graph = Graph()
    a = graph.add(Step("world", "a", {"k": 1}))
    assert graph.add(Step("world", "another label", {"k": 1}, cost=9, local={"path": "x"})) is a
    b = graph.add(Step("clips", "b", {}, {"world": a}))
    graph.use(b, ("q", "v", 0))
    assert list(graph.users[a.fingerprint]) == [("q", "v", 0)]
    assert len(graph) == 2


def test_the_prior_without_an_image_is_a_baseline(profile: Profile, toy: Path) -> None:
    plan = plan_of(profile, question(toy))
    prior = plan.evaluation["msrvtt"].baselines["text_to_video"].clips
    assert prior.kind == "sample" and isinstance(prior.inputs["model"], File)
    assert prior.config["model"]["context"] == prior.config["model"]["visual_detail_guidance"] == "none"
    assert {q for q, _, _ in plan.graph.users[prior.fingerprint]} == {"question"}


def test_a_profile_with_an_unknown_protocol_is_refused(toy: Path) -> None:
    path = toy / "profile.yaml"
    path.write_text(path.read_text().replace("tiny/v1", "tiny/v9"))
    with pytest.raises(UsageError, match="Did you mean 'tiny/v1'"):
        prepare(Options(specs=(toy / "question.yaml",), profile="./profile.yaml"))
