"""Other systems in a spec, on the command line and in a plan: what is asked, given, refused, and what it changes."""

import importlib.util
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import systems
from bench.cli import main
from bench.errors import UsageError
from bench.profile import ROOT
from bench.runner import Options, prepare
from bench.spec import load_question
from bench.system_list import entries
from bench.systems import not_given
from models.external import folder as folders
from reports.paper import paper
from tests.fixtures.tiny_systems import save

NEEDED = [name for name in ("diffusers", "transformers") if importlib.util.find_spec(name) is None]
with_library = pytest.mark.skipif(bool(NEEDED), reason=f"not installed: {', '.join(NEEDED)}")
SPEC = """\
question: Who is best?
source: "a test"
variants:
  full:  {label: "DynamiCrafter"}
  ltx:   {label: "LTX-Video", system: ltx, system.steps: 2}
  pika:  {label: "PikaLabs", system: pikalabs}
  sora:  {label: "Sora", system: sora-1.0}
expect:
  - {claim: "ours is better", metric: fvd, better: [full, ltx]}
  - {claim: "than all",       metric: pic, better: [full, pika]}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "who.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("ltx", tmp_path_factory.mktemp("pipeline") / "ltx")


def plan_of(spec: Path, *given: str, profile: str = "smoke", **more: object):
    return prepare(Options((spec,), profile=profile, store=spec.parent / "store", systems=given, **more)).plan


def clip(folder: Path, frames: int = 8, shade: int = 50) -> None:
    folder.mkdir(parents=True)
    for k in range(frames):
        Image.fromarray(np.full((32, 32, 3), shade + k, np.uint8)).save(folder / f"{k:04d}.png")


def some_ids(plan, dataset: str = "ucf101") -> list[str]:
    from bench.scoring.ids import names_of

    return sorted(set(names_of(plan.profile, dataset, None).ids.values()))


@pytest.mark.parametrize(
    ("keys", "words"),
    [("system: pika-labs", "variants.x.system is 'pika-labs'. Did you mean 'pikalabs'?"),
     ("system: I2VGen-XL", "Did you mean 'i2vgen-xl'?"),
     ("system: A b", "Allowed are small letters"),
     ("system: 3", "variants.x.system is 3. allowed is a name"),
     ("system: svd, model.context: none", "the variant is the system 'svd', of which nothing is trained here"),
     ("system: svd, weights: dynamicrafter", "of which nothing is trained here"),
     ("system: svd, sampling.prompt: none", "of which nothing is trained here"),
     ("system.steps: 5", "is about another system: name one with system: NAME"),
     ("system: svd, system.steps: 2.5", "2.5 is no whole number"),
     ("system: svd, system.steps: 0", "allowed is a number, 1 to 1000"),
     ("system: svd, system.time: slow", "Known: as_made, resampled")],
)  # fmt: skip
def test_a_variant_that_cannot_be_is_refused_with_its_line(tmp_path, keys, words):
    path = tmp_path / "q.yaml"
    path.write_text(f"question: q\nsource: s\nvariants:\n  x: {{{keys}}}\n")
    with pytest.raises(UsageError) as error:
        load_question(path)
    assert f"{path}:4" in str(error.value) and words in str(error.value)


def test_systems_that_are_not_given_cost_nothing_and_are_told(spec):
    plan = plan_of(spec)
    assert {step.kind for step in plan.graph} & {"external", "collect"} == set()
    for variant, name in (("ltx", "ltx"), ("pika", "pikalabs"), ("sora", "sora-1.0")):
        assert not plan.variants["who", variant].scored
        assert plan.notes["who", variant] == (not_given(name),)
    assert "LTXImageToVideoPipeline or its videos" in not_given("ltx")
    assert not_given("pikalabs") == "not given: --system pikalabs=DIR, its videos for what `bench conditions` exports"


def test_what_is_not_given_leaves_every_other_step_as_it_is(spec, tmp_path):
    alone = tmp_path / "alone.yaml"
    alone.write_text('question: q\nsource: s\nvariants:\n  full: {label: "DynamiCrafter"}\n')
    without = {step.fingerprint for step in plan_of(alone).graph}
    assert {step.fingerprint for step in plan_of(spec).graph if step.kind != "claims"} == without


@pytest.mark.parametrize(
    ("given", "words"),
    [("gen-2=.", "unknown name 'gen-2'. Known: ltx, pikalabs, sora-1.0"), ("ltx=nowhere", "there is no such folder"),
     ("ltx=empty", "no video there. Nor is it a LTXImageToVideoPipeline: there is no model_index.json"),
     ("pikalabs=empty", "no video there"), ("ltx", "write --system NAME=PATH")],
)  # fmt: skip
def test_a_system_that_is_given_wrongly_is_refused_before_any_work(spec, monkeypatch, given, words):
    monkeypatch.chdir(spec.parent)
    Path("empty").mkdir()
    with pytest.raises(UsageError, match=words.replace("(", r"\(")):
        plan_of(spec, given)


def test_a_pipeline_of_another_system_is_refused(spec, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "model_index.json").write_text('{"_class_name": "WanImageToVideoPipeline"}')
    with pytest.raises(UsageError, match="holds a 'WanImageToVideoPipeline', wanted is a LTXImageToVideoPipeline"):
        plan_of(spec, f"ltx={other}")
    with pytest.raises(UsageError, match=r"there is no adapter for 'sora-1\.0'"):
        plan_of(spec, f"sora-1.0={other}")


def test_questions_without_systems_take_none(tmp_path):
    with pytest.raises(UsageError, match="no variant of these questions has `system: NAME`"):
        plan_of(ROOT / "ablations" / "released.yaml", f"ltx={tmp_path}")


@with_library
def test_a_pipeline_is_sampled_with_every_seed(spec, pipeline):
    plan = plan_of(spec, f"ltx={pipeline}", seeds=(0, 1))
    steps = [step for step in plan.graph if step.kind == "external"]
    assert Counter(s.config["dataset"] for s in steps) == {"ucf101": 2, "msrvtt": 2}
    (first, *_) = steps
    assert first.config["rules"]["frame_step"] == 8 and first.config["sampler"]["steps"] == 2
    assert first.config["words"] == {"guidance_scale": 3.0} and len(first.config["content"]) == 64
    assert str(pipeline) not in json.dumps(first.config), "a folder is told by its files, not by its place"
    built = plan.variants["who", "ltx"]
    assert set(built.scored) == {(d, s) for d in ("ucf101", "msrvtt") for s in (0, 1)} and not built.one_set
    assert "LTX-Video out of its LTXImageToVideoPipeline, sha256" in plan.notes["who", "ltx"][0]
    assert {step.kind for step in plan.claims["who", "ucf101"].parents} == {"features"}


@with_library
def test_another_file_in_the_pipeline_is_another_step(spec, pipeline, tmp_path):
    copy = save("ltx", tmp_path / "copy")
    marks = [
        {s.fingerprint for s in plan_of(spec, f"ltx={one}").graph if s.kind == "external"} for one in (pipeline, copy)
    ]
    assert marks[0] == marks[1], "the same files elsewhere are the same pipeline"
    config = copy / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace('"shift": 1.0', '"shift": 2.0'))
    assert not marks[0] & {s.fingerprint for s in plan_of(spec, f"ltx={copy}").graph if s.kind == "external"}


def test_without_the_library_a_pipeline_is_refused_with_what_to_install(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(systems, "not_installed", lambda: ["diffusers"])
    monkeypatch.setattr(systems, "rules_of", lambda folder, adapter: adapter.rules)
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(UsageError, match=r"diffusers not installed: pip install -e '\.\[systems\]'; or give a folder"):
        plan_of(spec, f"ltx={tmp_path}")


def test_videos_stand_beside_every_seed(spec, tmp_path):
    ids = some_ids(plan_of(spec))
    for name in ids[:3]:
        clip(tmp_path / "videos" / "ucf101" / name)
    clip(tmp_path / "videos" / "ucf101" / "of_nobody")
    plan = plan_of(spec, f"pikalabs={tmp_path / 'videos'}", seeds=(0, 1))
    built = plan.variants["who", "pika"]
    assert built.one_set and set(built.scored) == {("ucf101", 0), ("ucf101", 1)}
    assert built.scored["ucf101", 0] is built.scored["ucf101", 1]
    (collect,) = [step for step in plan.graph if step.kind == "collect"]
    assert sorted(item["id"] for item in collect.config["items"]) == sorted(ids[:3])
    assert str(tmp_path) not in json.dumps(collect.config)
    assert plan.notes["who", "pika"][-1] == "no videos of msrvtt: not given, not measured"
    assert "ucf101: 1 videos are none of the data set and are left out: of_nobody" in plan.notes["who", "pika"]


def test_where_nothing_can_be_trained_a_comparison_goes_on_without_what_is_trained(tmp_path):
    plan = plan_of_real(tmp_path, '  way:  {label: "Our way", model.context: global_token}\n')
    assert not plan.variants["who", "way"].scored and "--data train=DIR" in plan.notes["who", "way"][0]
    assert plan.train_clips is None and {step.kind for step in plan.graph} & {"train"} == set()
    assert plan.variants["who", "ours"].scored, "a released model is sampled"


def test_a_question_about_our_own_variants_still_asks_for_training_videos(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text('question: q\nsource: s\nvariants:\n  way: {label: "Our way", model.context: global_token}\n')
    plan = prepare(Options((path,), profile="256", store=tmp_path / "store")).plan
    assert plan.variants["own", "way"].scored and any(
        file.digest == "missing:data train" for file in plan.graph.missing_files()
    )


def plan_of_real(folder: Path, more: str):
    path = folder / "who.yaml"
    path.write_text(
        f"question: q\nsource: s\nvariants:\n  ours: {{weights: dynamicrafter}}\n  svd:  {{system: svd}}\n{more}"
    )
    return prepare(Options((path,), profile="256", store=folder / "store")).plan


def test_the_published_comparison_is_a_question_with_a_row_for_each_system():
    question = load_question(ROOT / "ablations" / "main_comparison.yaml")
    labels = [variant.label for variant in question.variants]
    assert {row.label for row in paper().comparison.rows} <= set(labels)
    assert set(paper().user_study["systems"]) <= set(labels)
    asked = {variant.settings.system for variant in question.variants} - {None}
    assert asked == {"videocomposer", "i2vgen-xl", "pikalabs", "gen-2", "svd", "cogvideox", "wan", "ltx"}


def test_its_claims_are_what_the_published_table_says_on_both_data_sets():
    question = load_question(ROOT / "ablations" / "main_comparison.yaml")
    labels = {variant.name: variant.label for variant in question.variants}
    assert len(question.expect) == 5
    for claim in question.expect:
        for dataset in ("ucf101", "msrvtt"):
            values = [float(paper().comparison.value(labels[name], dataset, claim.metric)) for name in claim.order]
            assert values == sorted(values, reverse=claim.metric == "pic"), (claim.claim, dataset)


def test_its_ways_of_injection_are_those_of_the_question_about_them():
    one, two = (load_question(ROOT / "ablations" / f"{name}.yaml") for name in ("main_comparison", "injection"))
    ways = [{v.name: v.settings for v in q.variants if v.name in ("videocomposer", "i2vgen_xl")} for q in (one, two)]
    assert ways[0] == ways[1] and len(ways[0]) == 2


def test_every_system_is_listed_with_how_it_enters(capsys):
    started = time.perf_counter()
    assert main(["list", "systems"]) == 0
    assert time.perf_counter() - started < 3
    text = capsys.readouterr().out
    for name in ("dynamicrafter", "videocrafter", "stable-diffusion", "videocomposer", "i2vgen-xl", "svd", "cogvideox",
                 "wan", "ltx", "pikalabs", "gen-2"):  # fmt: skip
        assert f"  {name}  (" in text
    assert main(["list", "systems", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["systems"]
    assert found["dynamicrafter"]["available"] and found["dynamicrafter"]["stand_in"]
    assert found["dynamicrafter"]["where"] == "--weights dynamicrafter=FILE"
    assert not found["gen-2"]["available"] and found["gen-2"]["where"] == "--system gen-2=DIR"
    assert "LTXImageToVideoPipeline" in found["ltx"]["enters"] and "8k+1 frames" in found["ltx"]["here"]
    assert all(one["label"] and one["enters"] for one in found.values())


def test_a_listed_system_says_what_to_install(monkeypatch):
    monkeypatch.setattr("bench.system_list.not_installed", lambda: ["diffusers"])
    (svd,) = [entry for entry in entries() if entry.name == "svd"]
    assert svd.missing == f"diffusers ({folders.INSTALL}), and the pipeline or the videos"


def test_a_missing_file_of_the_tiny_priors_is_seen(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.system_list.ROOT", tmp_path)
    found = {entry.name: entry for entry in entries()}
    assert not found["videocrafter"].available and not found["dynamicrafter"].available


@with_library
def test_a_folder_that_is_shown_is_looked_at(pipeline, capsys):
    assert main(["list", "systems", "--system", f"ltx={pipeline}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["systems"]["ltx"]
    assert found["available"] and not found["missing"] and "sha256" in found["here"]
    assert main(["list", "systems", "--system", f"wan={pipeline}"]) == 2
    assert main(["list", "systems", "--system", f"wan={pipeline / 'vae'}"]) == 2
    assert "neither a pipeline (model_index.json) nor videos" in capsys.readouterr().err
    assert main(["list", "systems", "--system", f"wan={pipeline}"]) == 2
    assert "wanted is a WanImageToVideoPipeline" in capsys.readouterr().err
    assert main(["list", "systems", "--system", f"pika-labs={pipeline}", "--system", f"dynamicrafter={pipeline}"]) == 2
    told = capsys.readouterr().err
    assert "Did you mean 'pikalabs'?" in told and "dynamicrafter: it has no --system" in told
    assert main(["list", "weights", "--system", f"ltx={pipeline}"]) == 2
