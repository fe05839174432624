"""Variants that change sampling alone share all training; questions may ask for fewer clips and seeds."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.assemble import Finished
from bench.assemble import _trainings as trainings
from bench.errors import UsageError
from bench.fingerprint import FileHashes
from bench.measure import resolve_protocols
from bench.plan import Plan
from bench.plan_table import plan_text
from bench.planner import build_plan
from bench.profile import ROOT, Profile, load_profile, model_preset
from bench.runner import Options, prepare
from bench.samples import shown
from bench.scoring.plan import ScorePlan, Steps, given_samples
from bench.sources import find_sources
from bench.spec import Question, load_question
from bench.store import Store
from bench.variants import SAMPLING, Settings, as_trained, impossible, lambda_factors, sampler_of
from models.config import SamplerConfig
from models.presets import dynamicrafter_512

HEAD = 'question: What?\nsource: "a test"\n'
FULL = "  full: {label: Full}\n"


@pytest.fixture
def profile(toy: Path) -> Profile:
    return load_profile("./profile.yaml")


def asked(folder: Path, variants: str, more: str = "", name: str = "q") -> Question:
    path = folder / f"{name}.yaml"
    path.write_text(f"{HEAD}{more}variants:\n{FULL}{variants}")
    return load_question(path, model_preset("tiny"))


def refusal(folder: Path, variants: str, more: str = "") -> str:
    with pytest.raises(UsageError) as caught:
        asked(folder, variants, more)
    return " ".join(caught.value.messages)


def plan_of(profile: Profile, *questions: Question) -> Plan:
    sources = find_sources(profile, {}, {}, FileHashes())
    return build_plan(questions, profile, sources, resolve_protocols((), profile, sources)[0])


def fingerprints(plan: Plan, *kinds: str) -> set[str]:
    return {step.fingerprint for step in plan.graph if step.kind in kinds}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("sampling.text_scale: -1", "sampling.text_scale is -1: allowed is a number, 0 to 50"),
        ("sampling.text_scale: true", "is True: allowed is a number"),
        ("sampling.lambda_ends: -0.5", "is -0.5: allowed is a number, 0 to 10"),
        ("sampling.lambda_middle: 11", "is 11: allowed is a number, 0 to 10"),
        ("sampling.lambda_middle: half", "is 'half': allowed is a number"),
        ("sampling.prompt: nothing", "is 'nothing'. Known: caption, none"),
        ("sampling.guidance: two_scal", "Did you mean 'two_scale'?"),
        ("sampling.image_scale: 2", "has no effect: sampling.guidance is 'single' in the profile"),
        ("sampling.guidance: none, sampling.text_scale: 2", "sampling.text_scale: has no effect"),
        ("sampling.guidance: two_scale, sampling.prompt: none, sampling.text_scale: 2", "the image alone"),
        ("model.image_scale: fixed, sampling.lambda_ends: 2", "no learned lambda to scale: model.image_scale is fixed"),
        ("model.context: none, sampling.lambda_middle: 0", "no learned lambda to scale: model.context is none"),
    ],
)
def test_what_cannot_be_sampled_is_refused(tmp_path: Path, keys: str, words: str) -> None:
    assert words in refusal(tmp_path, f"  v: {{{keys}}}\n")


def test_the_profiles_sampler_decides_what_has_an_effect(tmp_path: Path) -> None:
    path = tmp_path / "q.yaml"
    path.write_text(f"{HEAD}variants:\n  v: {{sampling.image_scale: 2}}\n")
    two = SamplerConfig(guidance="two_scale", text_scale=7.5, image_scale=1.5)
    (variant,) = load_question(path, model_preset("tiny"), two).variants
    assert sampler_of(variant.settings, two) == replace(two, image_scale=2.0)
    assert sampler_of(Settings(guidance="single"), two) == replace(two, guidance="single", image_scale=None)


def test_a_released_model_is_sampled_otherwise_but_not_changed() -> None:
    released = Settings(weights="dynamicrafter")
    model = model_preset("tiny")
    assert impossible(replace(released, lambda_ends=2.0, guidance="none"), model) == []
    assert impossible(replace(released, lambda_ends=2.0), dynamicrafter_512())[0][0] == "sampling.lambda_ends"
    assert impossible(replace(released, image_scale="fixed"), model)


def test_sampling_is_no_part_of_training(tmp_path: Path) -> None:
    keys = "sampling.guidance: two_scale, sampling.text_scale: 3, sampling.image_scale: 2, sampling.lambda_ends: 0.5"
    changed = asked(tmp_path, f"  v: {{{keys}}}\n").variants[1].settings
    assert as_trained(changed) == Settings() != changed
    assert lambda_factors(changed) == {"ends": 0.5} and lambda_factors(Settings()) == {}
    assert isinstance(changed.text_guidance_scale, float), "2 and 2.0 are one setting"
    assert set(SAMPLING) <= set(Settings.__dataclass_fields__)


def test_variants_that_change_sampling_alone_train_nothing(profile: Profile, toy: Path) -> None:
    others = (
        "  a: {sampling.guidance: two_scale, sampling.text_scale: 3.0}\n"
        "  b: {sampling.prompt: none}\n"
        "  c: {sampling.lambda_middle: 0}\n"
    )
    alone, more = plan_of(profile, asked(toy, "")), plan_of(profile, asked(toy, others))
    assert fingerprints(alone, "train") == fingerprints(more, "train") != set()
    assert fingerprints(alone, "sample") < fingerprints(more, "sample")
    assert len(fingerprints(more, "sample") - fingerprints(alone, "sample")) == 3 * 2 * len(profile.seeds)


def test_a_sample_step_says_what_differs_and_no_more(profile: Profile, toy: Path) -> None:
    lines = "  a: {sampling.prompt: none}\n  b: {sampling.lambda_middle: 0, sampling.lambda_ends: 1.0}\n"
    plan = plan_of(profile, asked(toy, lines))
    told = {v: plan.variants["q", v].scored["ucf101", 0].clips.config for v in ("full", "a", "b")}
    usual = {"model", "sampler", "seed", "dataset", "machine"}
    assert set(told["full"]) == usual, "a key more would change every fingerprint"
    assert told["a"] == {**told["full"], "prompt": "none"}
    assert told["b"] == {**told["full"], "lambda_factors": {"middle": 0.0}}


def test_what_the_profile_has_anyway_is_the_same_step(profile: Profile, toy: Path) -> None:
    scale = profile.sampling.text_scale
    plan = plan_of(profile, asked(toy, f"  a: {{sampling.guidance: single, sampling.text_scale: {scale}}}\n"))
    assert plan.variants["q", "a"].scored == plan.variants["q", "full"].scored


def test_a_question_with_fewer_clips_is_compared_with_as_many(profile: Profile, toy: Path) -> None:
    wide = profile.model_copy(update={"samples": 6})
    small, whole = asked(toy, "", "samples: 4\n", "small"), asked(toy, "", name="whole")
    plan = plan_of(wide, whole, small)
    assert plan.extents["whole"].samples == 6 and plan.extents["small"].samples == 4
    for name, count in (("whole", 6), ("small", 4)):
        for dataset, evaluation in plan.sets(name).items():
            scored = plan.variants[name, "full"].scored[dataset, 0]
            reference = scored.score.inputs["reference"]
            assert reference is evaluation.reference and evaluation.samples == count
            assert scored.clips.inputs["encoded"].config["count"] == count  # type: ignore[union-attr]
            steps = [scored.features, reference, *(one.features for one in evaluation.baselines.values())]
            assert {step.config["count"] for step in steps} == {count}  # type: ignore[union-attr]
            assert scored.score.config["samples"] == plan.variants[name, "full"].aggregate[dataset].config["samples"]
    assert plan.sets("whole") is plan.evaluation
    assert plan.sets("small")["ucf101"].clips is plan.evaluation["ucf101"].clips
    assert fingerprints(plan_of(wide, whole), "train") == fingerprints(plan, "train")
    assert fingerprints(plan_of(wide, whole)) <= fingerprints(plan)


def test_a_smaller_profile_keeps_its_own_number(profile: Profile, toy: Path) -> None:
    whole, capped = asked(toy, "", name="q"), asked(toy, "", "samples: 500\nseeds: 9\n", name="q")
    assert fingerprints(plan_of(profile, whole), "score", "aggregate") == fingerprints(
        plan_of(profile, capped), "score", "aggregate"
    )


def test_seeds_are_the_first_of_the_run(profile: Profile, toy: Path) -> None:
    few = asked(toy, "", "seeds: 1\n", "few")
    chosen = profile.model_copy(update={"seeds": (5, 6, 7)})
    plan = plan_of(chosen, few, asked(toy, "", name="all"))
    assert plan.seeds("few") == (5,) and plan.seeds("all") == (5, 6, 7)
    assert {seed for _, seed in plan.variants["few", "full"].scored} == {5}
    assert plan.variants["few", "full"].scored["ucf101", 5] == plan.variants["all", "full"].scored["ucf101", 5]


@pytest.mark.parametrize("line", ["samples: 1", "samples: 2.5", "seeds: 0", "seeds: [0, 1]", "samples: many"])
def test_a_cap_is_a_whole_number(tmp_path: Path, line: str) -> None:
    assert line.partition(":")[0] in refusal(tmp_path, "", line + "\n")


def test_the_plan_says_which_question_has_less(toy: Path) -> None:
    (toy / "few.yaml").write_text(f"{HEAD}samples: 3\nseeds: 1\nvariants:\n{FULL}")
    prepared = prepare(Options((toy / "few.yaml",), "./profile.yaml", store=toy / "store", samples=5))
    text = plan_text(prepared, Store(toy / "store"))
    assert "5 samples per variant" in text and "few: 3 samples, 1 seeds" in text


def test_a_variant_without_numbers_leaves_its_claims_untested(profile: Profile, toy: Path) -> None:
    from bench.plan import VariantPlan
    from bench.planner import _Builder

    text = "expect:\n  - {claim: better, metric: fvd, better: [full, gone]}\n"
    question = asked(toy, "  gone: {model.context: none}\n" + text)

    class Lacking(_Builder):
        def _variant(self, name, *rest):  # type: ignore[no-untyped-def]
            return VariantPlan({}, {}, {}) if name == "gone" else super()._variant(name, *rest)

    sources = find_sources(profile, {}, {}, FileHashes())
    plan = Lacking(profile, sources, resolve_protocols((), profile, sources)[0], "cpu").plan([question])
    roles = set(plan.claims["q", "ucf101"].inputs)
    assert roles == {"reference", *(f"full.seed_{seed}" for seed in profile.seeds)}


@pytest.mark.parametrize("name", ["lambda_layers", "text_guidance"])
def test_questions_about_sampling_train_the_full_model_alone(name: str) -> None:
    profile = load_profile("tiny")
    question = load_question(ROOT / "ablations" / f"{name}.yaml", model_preset("tiny"), profile.sampling.config)
    plan = plan_of(profile, question)
    full = {one.step.fingerprint for s in plan.variants[name, "full"].training.values() for one in s if one.step}
    assert fingerprints(plan, "train") == full and len(full) == 2 * len(profile.seeds)
    spent = sum(step.cost for step in plan.graph if step.kind in ("sample", "features", "score", "alike", "aggregate"))
    assert spent < 60 * {"lambda_layers": 8, "text_guidance": 9}[name], "CPU seconds of the tiny profile"


def test_samples_show_each_clip_once_and_of_a_grid_what_is_claimed(profile: Profile, toy: Path) -> None:
    wide = profile.model_copy(update={"samples": 6})
    lines = (
        "  claimed: {sampling.prompt: none}\n"
        "  cell: {sampling.lambda_middle: 0}\n"
        "  trained: {model.context: none}\n"
        "expect:\n  - {claim: x, metric: pic, better: [full, claimed]}\n"
    )
    questions = (asked(toy, "", name="whole"), asked(toy, lines, "samples: 4\n", "small"))
    run = Finished(plan_of(wide, *questions), Store(toy / "store"), toy / "run")
    found = shown(run, "ucf101")
    assert {"full", "claimed", "trained"} <= set(found) and "cell" not in found and "small.full" not in found
    assert found["full"] is run.plan.variants["whole", "full"].scored["ucf101", 0].clips


def test_a_training_is_told_once_where_sampling_alone_differs(profile: Profile, toy: Path) -> None:
    lines = "  a: {sampling.prompt: none}\n  b: {model.context: none}\n"
    plan = plan_of(profile, asked(toy, lines), asked(toy, "", name="other"))
    told = {name: questions for (name, _), questions in trainings(plan).items()}
    assert told == {"full": ["q", "other"], "b": ["q"]}


def test_scoring_again_takes_as_many_clips_as_a_question_had(profile: Profile, toy: Path) -> None:
    wide, hashes = profile.model_copy(update={"samples": 6}), FileHashes()
    small = asked(toy, "", "samples: 4\n", "small")
    plan = plan_of(wide, small)
    told = {"small": small.to_json(), "whole": {}}
    assert [given_samples(told, name) for name in ("small", "whole", "gone")] == [4, None, None]
    steps = Steps(ScorePlan(wide, plan.sources, [plan.protocol], 6), "cpu", hashes)
    clips = plan.sets("small")["ucf101"].clips
    mine = steps.limited(given_samples(told, "small"))
    again = mine.reference(plan.protocol, "ucf101", clips)
    assert again.fingerprint == plan.sets("small")["ucf101"].reference.fingerprint
    assert mine.plan is steps.plan and steps.limited(None).samples == 6 and steps.limited(50).samples == 6


def test_what_stands_in_for_a_released_model_is_sampled_as_the_variant_asks(profile: Profile, toy: Path) -> None:
    lines = "  a: {weights: dynamicrafter}\n  b: {weights: dynamicrafter, sampling.prompt: none}\n"
    plan = plan_of(profile, asked(toy, lines + "  c: {sampling.prompt: none}\n"))
    full, a, b, c = (plan.variants["q", v].scored["ucf101", 0].clips.fingerprint for v in ("full", "a", "b", "c"))
    assert a == full != b == c
